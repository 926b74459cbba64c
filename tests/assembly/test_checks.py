"""Code of the user's own is refused in words about it, and as early as it can be known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from torch import nn

from composing import compose
from sparsead.assembly.build import insert_adapter
from sparsead.assembly.checks import check_buildable
from sparsead.config.groups import AdapterSpec
from sparsead.config.pruning import PrunerSpec
from sparsead.errors import ConfigError

OWN = """
from dataclasses import dataclass


@dataclass
class Own:
    bottleneck: int

    def insert(self, model, seed):
        return model
"""


class ReturnsTheModel:
    def insert(self, model: Any, seed: int) -> Any:
        return model


class TakesNoSeed:
    def insert(self, model: Any) -> Any:
        return model


def test_an_adapter_that_takes_other_arguments_is_told_which() -> None:
    adapter: Any = TakesNoSeed()
    with pytest.raises(ConfigError, match="must take a model and a seed"):
        insert_adapter(compose("backbone=tiny-bert"), adapter, cast(Any, nn.Linear(1, 1)))


def test_an_adapter_that_returns_something_else_is_told_what_to_return() -> None:
    model: Any = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="returned a Linear; it must return an AdaptedModel"):
        insert_adapter(compose("backbone=tiny-bert"), ReturnsTheModel(), model)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"rank": 3}, "adapter.rank: no such key"), ({"bottleneck": "x"}, "adapter.bottleneck=x")],
)
def test_keys_that_own_code_does_not_take_are_refused_before_torch_is_imported(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_adapter.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    spec = compose("backbone=tiny-bert")
    own = AdapterSpec("own", "own_adapter.Own", {"bottleneck": 4})
    check_buildable(replace(spec, adapter=own))
    own.options.update(options)
    with pytest.raises(ConfigError, match=said):
        check_buildable(replace(spec, adapter=own))


def test_a_pruner_of_ones_own_may_need_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needing_pruner.py").write_text("def needs(scoring, *, power: float): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = compose("backbone=tiny-bert")
    check_buildable(
        replace(spec, pruner=PrunerSpec("own", "needing_pruner.needs", options={"power": 2.0}))
    )
    with pytest.raises(ConfigError, match="missing a required argument: 'power'"):
        check_buildable(replace(spec, pruner=PrunerSpec("own", "needing_pruner.needs")))
