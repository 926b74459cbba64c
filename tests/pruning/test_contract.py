"""The pruners that the configuration can choose."""

from __future__ import annotations

import pytest

from composing import compose
from sparsead.config.choices import list_choices
from sparsead.pruning.contract import PRUNERS


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
