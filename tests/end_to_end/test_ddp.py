"""Two processes, gloo: the removed weights stay zero, and both hold the same weights."""

from __future__ import annotations

from pathlib import Path

import torch

from ddp_worker import in_two_processes, worker


def test_removed_weights_stay_zero_in_two_processes(tmp_path: Path) -> None:
    in_two_processes(worker, tmp_path)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, weight in one["state"].items():
        assert torch.equal(weight, two["state"][name])
    for name, mask in one["masks"].items():
        assert torch.equal(mask, two["masks"][name])
        assert (one["state"][name][~mask] == 0).all()
        assert (one["state"][name][mask] != 0).all()
