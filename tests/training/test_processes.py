"""Two processes, gloo: what each finds for itself is for both what the first found."""

from __future__ import annotations

import socket
from pathlib import Path

import torch.multiprocessing as mp

from ddp_worker import agreeing_worker
from sparsead.training.processes import agreed


def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(agreeing_worker, args=(port, str(tmp_path)), nprocs=2)
    assert [(tmp_path / rank).read_text("utf-8") for rank in "01"] == ["found by 0"] * 2


def test_a_process_alone_decides_for_itself() -> None:
    assert agreed("fp32") == "fp32"
