"""Random numbers that depend on the seed and a name alone, never on what ran before."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *key: str | int) -> int:
    """Return a 63-bit seed for the purpose named by `key`, independent of all other keys."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *key: str | int) -> torch.Generator:
    """Return a CPU generator for the purpose named by `key`.

    Runs that differ in one thing only (a mask, an adapter) thereby share all other randomness.
    """
    return torch.Generator().manual_seed(derived_seed(seed, *key))
