"""The work of a training step besides that of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, TrainerCallback

from composing import compose
from sparsead.assembly.build import build_adapter, insert_adapter
from sparsead.assembly.inputs import read_inputs
from sparsead.runs.staging import staged
from sparsead.training.resume import MASKS_FILE, PRECISION_FILE
from sparsead.training.trainer import SparseadTrainer, build_trainer
from sparsead.training.unpadded import unpad

aten = torch.ops.aten


class ScalarsRead(TorchDispatchMode):
    """Counts where a tensor's value comes back to Python: on a GPU each would wait for it.

    So does choosing by True and False, where the number chosen is the result's shape.
    """

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = func in (aten._local_scalar_dense.default, aten.nonzero.default)
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            read = any(index is not None and index.dtype is torch.bool for index in args[1])
        self.count += read or func is aten.masked_select.default
        return func(*args, **(kwargs or {}))


class WithinSteps(TrainerCallback):
    def __init__(self, mode: ScalarsRead) -> None:
        self.mode = mode
        self.step = ExitStack()
        self.steps = 0

    def on_step_begin(self, *_args: object, **_kwargs: object) -> None:
        self.step.enter_context(self.mode)

    def on_step_end(self, *_args: object, **_kwargs: object) -> None:
        self.step.close()
        self.steps += 1


def trainer_of(folder: Path, *overrides: str) -> SparseadTrainer:
    spec = compose(
        *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=32", "device=cpu"),
        *("protocol.epochs=2", "precision=fp32", f"outputs={folder}", *overrides),
    )
    read = read_inputs(spec)
    task, tokenizer = read.task, read.backbone.tokenizer
    model = read.backbone.model(task.head, task.head_options, spec.seed)
    insert_adapter(spec, build_adapter(spec), model)
    collator = unpad(model, task.collator(tokenizer), spec.precision)
    return build_trainer(spec, model, read.data, tokenizer, task, collator, folder, spec.precision)


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that this process has claimed, with the files of its starting state."""
    with staged(tmp_path / "runs" / "one") as folder:
        for name in (MASKS_FILE, PRECISION_FILE):
            (folder / name).touch()
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_reads_a_tensor_back(staging: Path, precision: str) -> None:
    trainer = trainer_of(staging, f"precision={precision}")
    inside = WithinSteps(ScalarsRead())  # type: ignore[no-untyped-call]
    trainer.add_callback(inside)
    trainer.train()
    assert inside.steps == 4
    assert inside.mode.count == 0


@pytest.mark.slow
def test_the_optimiser_keeps_a_state_of_what_trains_alone(staging: Path) -> None:
    trainer = trainer_of(staging, "protocol.epochs=1", "protocol.gradient_checkpointing=true")
    trainer.train()
    model, optimizer = trainer.model, trainer.optimizer
    assert isinstance(model, PreTrainedModel)
    assert optimizer is not None
    training = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == training
    assert optimizer.defaults["fused"]
    assert model.is_gradient_checkpointing
