"""The pruners that the configuration can choose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from composing import compose
from sparsead.config.choices import list_choices
from sparsead.pruning.contract import PRUNERS


def test_the_page_on_pruners_lists_every_choice() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "pruners.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M)) - {"pruner"}
    assert listed == {*list_choices("pruner")} - {"none"}


@pytest.mark.slow
@pytest.mark.parametrize("choice", list_choices("pruner"))
def test_every_choice_composes_and_binds(choice: str) -> None:
    pruner = compose(f"pruner={choice}").pruner
    assert pruner.name == choice
    PRUNERS.bind(pruner.method, pruner.options)


def test_the_paper_preset_differs_from_snip_in_one_option() -> None:
    snip, paper = (compose(f"pruner={choice}").pruner for choice in ("snip", "snip_paper"))
    assert (snip.method, snip.scope, snip.probe) == (paper.method, paper.scope, paper.probe)
    assert paper.options == {**snip.options, "faithful": "paper"}
