"""Every choice, and every experiment on the tasks of the tables, composes to what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator

import hydra
import pytest

from compositions import RECORDED, Flat, compose_flat, expected
from exhaustive import choose


@pytest.fixture(scope="module")
def recorded() -> Iterator[dict[str, Flat]]:
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        yield json.loads(RECORDED.read_text("utf-8"))


EVERY = [*json.loads(RECORDED.read_text("utf-8"))]
CHOICES = [each for each in EVERY if " " not in each]  # the others: experiments on each task


@pytest.mark.slow
@pytest.mark.parametrize("overrides", choose(EVERY, [*CHOICES, *EVERY[::5]]))
def test_a_composition_is_what_was_recorded(recorded: dict[str, Flat], overrides: str) -> None:
    """If a change is intended, `python tests/compositions.py` records it."""
    words = overrides.split()
    assert compose_flat(words) == expected(recorded, words)
