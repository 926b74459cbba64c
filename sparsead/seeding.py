"""Random numbers that depend only on the seed and a name, never on what was drawn before."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *key: str | int) -> int:
    """Return a 63-bit seed for the purpose that `key` names, independent of all other keys."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *key: str | int) -> torch.Generator:
    """Return a CPU generator for the purpose that `key` names.

    Runs that differ in one thing only, such as the pruner, thereby share all other random numbers.
    """
    return torch.Generator().manual_seed(derive_seed(seed, *key))
