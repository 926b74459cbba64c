"""Two processes, gloo: the removed weights stay zero, and both hold the same weights."""

from __future__ import annotations

import socket
from pathlib import Path

import torch
import torch.multiprocessing as mp

from ddp_worker import worker


def test_removed_weights_stay_zero_in_two_processes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, args=(port, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, weight in one["state"].items():
        assert torch.equal(weight, two["state"][name])
    for name, mask in one["masks"].items():
        assert torch.equal(mask, two["masks"][name])
        assert (one["state"][name][~mask] == 0).all()
        assert (one["state"][name][mask] != 0).all()
