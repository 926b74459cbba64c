"""docs/reference.md is what the schema and conf/ say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import make_reference


@pytest.mark.slow
def test_the_reference_is_made_from_the_schema() -> None:
    """`python scripts/make_reference.py` writes it anew."""
    assert make_reference.REFERENCE.read_text("utf-8") == make_reference.render()
