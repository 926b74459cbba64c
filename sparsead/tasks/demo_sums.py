"""Generated sums of two numbers of two digits; no two splits share a sum."""

from __future__ import annotations

from random import Random

SPLIT_SIZES = {"train": 6000, "validation": 500, "test": 500}
SEED = 20211


def sums(split: str) -> list[dict[str, str]]:
    """Draw the rows of a split, with the columns `id`, `prompt` and `completion`.

    Args:
        split: "train", "validation" or "test".

    Returns:
        The same rows on every call, such as "47+38=" and "85".
    """
    if split not in SPLIT_SIZES:
        raise ValueError(f"unknown split {split!r}, expected one of {sorted(SPLIT_SIZES)}")
    pairs = [(one, other) for one in range(10, 100) for other in range(10, 100)]
    Random(SEED).shuffle(pairs)
    before = list(SPLIT_SIZES).index(split)
    start = sum(list(SPLIT_SIZES.values())[:before])
    return [
        {"id": f"{split}-{number}", "prompt": f"{one}+{other}=", "completion": str(one + other)}
        for number, (one, other) in enumerate(pairs[start : start + SPLIT_SIZES[split]])
    ]
