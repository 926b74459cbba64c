"""Every choice, and every experiment on the tasks of the tables, composes to what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator

import hydra
import pytest

from compositions import RECORDED, Flat, compose_flat, expected


@pytest.fixture(scope="module")
def recorded() -> Iterator[dict[str, Flat]]:
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        yield json.loads(RECORDED.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", json.loads(RECORDED.read_text("utf-8")))
def test_a_composition_is_what_was_recorded(recorded: dict[str, Flat], overrides: str) -> None:
    """If a change is intended, `python tests/compositions.py` records it."""
    words = overrides.split()
    assert compose_flat(words) == expected(recorded, words)
