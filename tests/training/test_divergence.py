"""Runs of a sweep whose loss becomes NaN, or that need more memory than there is."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import sparsead.train as training
from composing import ask_for
from sparsead.assembly.trained import load
from sparsead.errors import RecordError
from sparsead.runs.states import Done, Failed, read_state
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import run_cells
from sparsead.training.trainer import SparseadTrainer

TABLE = ("backbone=tiny-bert", "only=column=mrpc", "only=row=adapter", "seeds=3", "device=cpu")


@pytest.mark.slow
def test_nan_and_exhausted_memory_end_their_own_run_alone(
    tmp_path: Path,
    glue_fixture: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    compute_loss = SparseadTrainer.compute_loss

    def disturbed(self: SparseadTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = cast(torch.Tensor, compute_loss(self, *args, **kwargs))
        if self.args.seed == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.3 GiB")
        return loss * float("nan") if self.args.seed == 1 and torch.is_grad_enabled() else loss

    monkeypatch.setattr(SparseadTrainer, "compute_loss", disturbed)
    changes = (*TABLE, f"task.path={glue_fixture}", "protocol.epochs=1", f"outputs={tmp_path}")
    cells = list_cells(load_table("table3", list(changes)))
    with caplog.at_level(logging.WARNING):
        run_cells(cells, training.train, tell=lambda *_: None)
    diverged, exhausted, usual = (read_state(cell.request.folder) for cell in cells)
    assert isinstance(diverged, Done)
    assert set(diverged.record.result["scores"].values()) == {None}
    assert "epoch 1: the training loss is not finite" in caplog.text
    assert isinstance(exhausted, Failed)
    assert exhausted.failure["error"].startswith(
        "DeviceError: out of memory (it tried to allocate 3.3 GiB): a smaller"
    )
    assert isinstance(usual, Done)
    assert None not in usual.record.result["scores"].values()
    assert json.loads((usual.record.folder / "result.json").read_text())


@pytest.mark.slow
def test_a_diverged_run_that_generates_texts_has_no_scores_and_predicts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_loss = SparseadTrainer.compute_loss

    def diverged(self: SparseadTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = cast(torch.Tensor, compute_loss(self, *args, **kwargs))
        return loss * float("nan") if torch.is_grad_enabled() else loss

    monkeypatch.setattr(SparseadTrainer, "compute_loss", diverged)
    tiny = ("backbone=tiny-bart", "task=demo_xsum", "task.limit=4", "pruner=random")
    short = ("protocol.epochs=1", "device=cpu", "task.generation.max_new_tokens=4")
    record = training.train(ask_for(*tiny, *short, f"outputs={tmp_path}"))
    assert set(record.result["scores"].values()) == {None}
    run = load(record.folder)
    row = dict.fromkeys(run.inputs, "A text.")
    with pytest.raises(RecordError, match="its model's outputs are nan, which predict nothing"):
        run.predict([row])
