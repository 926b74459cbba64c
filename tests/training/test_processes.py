"""Two processes with gloo: values that each would determine are those of the first in both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddp_worker import (
    OF_TOKENS,
    agreeing_worker,
    in_two_processes,
    masking_worker,
    text_training_worker,
    train_undisturbed,
    training_worker,
)
from sparsead.training.processes import broadcast_value


@pytest.mark.slow
def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    in_two_processes(agreeing_worker, tmp_path)
    assert [(tmp_path / rank).read_text("utf-8") for rank in "01"] == ["found by 0"] * 2


@pytest.mark.slow
def test_all_processes_have_the_masks_of_the_first(tmp_path: Path) -> None:
    in_two_processes(masking_worker, tmp_path)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert not torch.equal(one["own"], two["own"])
    for each in (one, two):
        assert torch.equal(each["shared"], one["own"])
        assert torch.equal(each["weight"], one["weight"])
        assert (each["weight"][~each["shared"]] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worker", "words"), [(training_worker, ()), (text_training_worker, OF_TOKENS)]
)
def test_two_processes_train_what_one_does(
    tmp_path: Path, worker: Callable[[int, int, str], None], words: tuple[str, ...]
) -> None:
    in_two_processes(worker, tmp_path)
    train_undisturbed(tmp_path, "alone.pt", *words)
    alone, *both = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("alone", 0, 1)
    )
    for each in both:
        assert each["losses"] == pytest.approx(alone["losses"], rel=1e-3)
        for name, weight in alone["weights"].items():
            torch.testing.assert_close(each["weights"][name], weight, rtol=0, atol=1e-5)


def test_a_process_alone_decides_for_itself() -> None:
    assert broadcast_value("fp32") == "fp32"
