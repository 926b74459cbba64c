"""Two processes with gloo: values that each would determine are those of the first in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddp_worker import agreeing_worker, in_two_processes
from sparsead.training.processes import broadcast_value


@pytest.mark.slow
def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    in_two_processes(agreeing_worker, tmp_path)
    assert [(tmp_path / rank).read_text("utf-8") for rank in "01"] == ["found by 0"] * 2


def test_a_process_alone_decides_for_itself() -> None:
    assert broadcast_value("fp32") == "fp32"
