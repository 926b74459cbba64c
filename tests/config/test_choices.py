"""A base, which files of a group share, is no choice: it is in no list and cannot be chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from forked import Worker, call
from sparsead.config.choices import list_choices, list_groups
from sparsead.config.compose import compose
from sparsead.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf"
BASES = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "train")
GROUPS = ("adapter", "backbone", "experiment", "protocol", "pruner", "search", "sparsity", "task")


def test_the_choices_are_the_files_of_the_groups() -> None:
    assert {*GROUPS, "table"} <= {*list_groups()}
    assert {"snip", "snip_paper"} <= {*list_choices("pruner")}
    assert {"table1/snip", "table4/s-lora"} <= {*list_choices("experiment")}
    assert list_choices("prunner") == []
    offered = {choice for group in list_groups() for choice in list_choices(group)}
    assert BASES
    assert offered.isdisjoint(BASES)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("folder", ["", "../"])
def test_asking_for_a_base_is_an_unknown_choice(group: str, folder: str) -> None:
    for base in BASES:
        with pytest.raises(ConfigError) as error:
            compose([f"{group}={folder}{base}"])
        said = str(error.value)
        assert "\n" not in said
        if group == "backbone" and folder:  # a path is that of a model of the user's own
            assert said.startswith(f"backbone.path={folder}{base}: is not a folder")
            continue
        assert said.startswith(f"{group}={folder}{base}: no such choice")
        hint_and_choices = said.partition("no such choice")[2]
        assert not any(each in hint_and_choices for each in BASES)


@pytest.mark.slow
def test_neither_help_nor_completion_names_a_base() -> None:
    words = ["sparsead-train", "-sc", "query=bash"]
    for typed in ("", "base", "pruner=", "task="):
        line = f"sparsead-train {typed}"
        asked = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        done = Worker(call, "sparsead.commands.train", words, environment=asked).wait()
        assert done.returncode == 0, done.stderr
        assert not any(base in done.stdout for base in BASES)
    helped = Worker(call, "sparsead.cli", ["sparsead", "train", "--help"]).wait()
    assert "pruner: er, " in helped.stdout
    assert not any(base in helped.stdout for base in BASES)
