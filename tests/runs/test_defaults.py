from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import pytest

from composing import compose
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.prefix import PrefixOptions
from sparsead.config.registry import Registry
from sparsead.pruning.contract import PRUNERS
from sparsead.runs.defaults import OPTIONS, leave_out_defaults
from sparsead.runs.identity import compute_identity
from sparsead.tasks.contract import TASKS

REGISTRIES: dict[str, Registry[Any]] = {"adapter": ADAPTERS, "pruner": PRUNERS, "task": TASKS}
COMMON = {"limit", "path", "files", "train", "validation", "test", "revision"}
"""Parameters of tasks that are fields of `TaskSpec`, and therefore no options."""


def _field_defaults(schema: Any) -> dict[str, Any]:
    return {f.name: f.default for f in fields(schema) if f.default is not MISSING}


def _signature_defaults(entry: Any) -> dict[str, Any]:
    """What a call without the option gets; a tuple is a list in a configuration."""
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(entry).parameters.items():
        if name in COMMON or parameter.default is parameter.empty:
            continue
        made_by: dict[str, Any] = (
            {f.name: f.default_factory for f in fields(entry)} if is_dataclass(entry) else {}
        )
        factory = made_by.get(name, MISSING)
        value = parameter.default if factory is MISSING else factory()
        if name == "prefix" and value == {}:
            value = _field_defaults(PrefixOptions)
        defaults[name] = list(value) if isinstance(value, tuple) else value
    return defaults


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_listed_defaults_are_those_of_the_methods(group: str) -> None:
    signatures = {
        name: _signature_defaults(entry) for name, entry in REGISTRIES[group].entries().items()
    }
    in_use = {name: defaults for name, defaults in signatures.items() if defaults}
    assert OPTIONS[group] == in_use, "see sparsead/runs/defaults.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        "~adapter.dropout",
        "~adapter.init ~adapter.scale",
        "adapter=mam ~adapter.prefix.prune",
        "pruner=force ~pruner.rounds",
        "~protocol.gradient_checkpointing",
    ],
)
def test_a_key_at_its_default_may_as_well_be_absent(overrides: str) -> None:
    whole = [override for override in overrides.split() if not override.startswith("~")]
    assert compute_identity(compose(*overrides.split())) == compute_identity(compose(*whole))


def test_what_is_not_the_default_stays() -> None:
    run = compose("adapter.dropout=0.1", "adapter=mam", "adapter.prefix.scale=2").to_dict()
    adapter = leave_out_defaults(run)["adapter"]
    assert adapter["options"]["dropout"] == 0.1
    assert adapter["options"]["prefix"] == {"scale": 2}


def test_the_same_value_counts_for_a_method_with_another_default() -> None:
    def bottleneck(adapter: str) -> dict[str, Any]:
        run = compose(f"adapter={adapter}", "adapter.scale=4").to_dict()
        options: dict[str, Any] = leave_out_defaults(run)["adapter"]["options"]
        return options

    assert "scale" not in bottleneck("parallel")
    assert bottleneck("houlsby")["scale"] == 4
