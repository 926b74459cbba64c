"""A folder of the user's own, which every verb takes as --config-dir."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsead import cli
from sparsead.config.choices import config_folders, list_choices, use_own_folder
from sparsead.config.comments import describe_choice
from sparsead.config.compose import compose
from sparsead.config.search import read_search
from sparsead.errors import ConfigError
from sparsead.tables.composed import hash_conf
from sparsead.tables.files import load_table

_PRUNER = "defaults: [/base_pruner, _self_]\nname: largest\n_target_: my_package.largest\n"
_TABLE = """
title: mine
rows: [{name: a, overrides: [adapter.bottleneck=8]}]
columns: [{task: rte, metric: accuracy}]
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "it's my conf"
    for group, text in {"pruner/largest": _PRUNER, "table/mine": _TABLE}.items():
        file = folder / f"{group}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text, "utf-8")
    yield folder
    use_own_folder(None)


def test_an_editors_own_files_are_no_choices_and_an_unreadable_file_is_named(own: Path) -> None:
    use_own_folder(own)
    (own / "pruner" / ".#mine.yaml").symlink_to("me@host.1:9")
    assert ".#mine" not in list_choices("pruner")
    (own / "pruner" / "latin.yaml").write_bytes("# \u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read"):
        describe_choice("pruner", "latin")
    (own / "pruner" / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match=r"list\.yaml: must have keys and values"):
        describe_choice("pruner", "list")


@pytest.mark.parametrize("place", ["pruner/snip.yaml", "base_pruner.yaml", "table/table1.yaml"])
def test_a_file_in_the_place_of_one_of_the_projects_is_refused(own: Path, place: str) -> None:
    (own / place).write_bytes((config_folders()[0] / place).read_bytes())
    use_own_folder(own)
    (own / place).write_text("name: other\n")
    with pytest.raises(ConfigError, match=f"{place} is a file of the project; give yours another"):
        use_own_folder(own)
    assert "largest" not in list_choices("pruner")


def test_its_choices_are_composed_listed_and_suggested(own: Path) -> None:
    before = hash_conf()
    use_own_folder(own)
    assert compose(["pruner=largest"]).pruner.method == "my_package.largest"
    assert {"largest", "snip"} <= {*list_choices("pruner")}
    assert load_table("mine").title == "mine"
    assert hash_conf() != before
    use_own_folder(None)
    assert "largest" not in list_choices("pruner")


@pytest.mark.parametrize(
    "text", ["a: [=, x]", "a: [<<, x]", "a: [x", "a:\n\t- x", "a: 'x", "a: *b"]
)
def test_a_file_that_is_not_yaml_is_named_with_its_line(own: Path, text: str) -> None:
    (own / "pruner" / "largest.yaml").write_text(f"name: largest\n{text}\n", "utf-8")
    use_own_folder(own)
    with pytest.raises(ConfigError, match=r"largest\.yaml:[234]: is not YAML \(") as error:
        compose(["pruner=largest"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", r"mine\.yaml: must have keys and values"),
        ("a: [\n", r"mine\.yaml: cannot be read \("),
        ("", r"mine\.yaml: must have keys below `search` or `hydra.sweeper.params`"),
        ("search: 3\nhydra: [x]\n", r"mine\.yaml: must have keys below `search` or"),
        ("search: {epochs: x}\n", r"search\.epochs=x: must be a list of whole numbers"),
        ("hydra: {sweeper: {params: {seed: 1}}}\n", r"hydra\.sweeper\.params\.seed: no such key"),
    ],
)
def test_a_search_of_the_users_own_that_cannot_be_read_is_refused(
    own: Path, text: str, said: str
) -> None:
    (own / "search").mkdir()
    (own / "search" / "mine.yaml").write_text(text, "utf-8")
    use_own_folder(own)
    with pytest.raises(ConfigError, match=said):
        read_search("mine", {})


def test_a_search_of_the_users_own_is_a_section_or_a_sweep(own: Path) -> None:
    (own / "search").mkdir()
    grid = "learning_rate: [1e-4], epochs: [5], batch_size: [8]"
    sweep = "protocol.learning_rate: 1e-4, protocol.epochs: 5, protocol.batch_size: 8"
    (own / "search" / "section.yaml").write_text(f"search: {{{grid}}}\n", "utf-8")
    text = f"hydra: {{sweeper: {{params: {{{sweep}}}}}}}\n"
    (own / "search" / "sweep.yaml").write_text(text, "utf-8")
    use_own_folder(own)
    assert read_search("section", {}).points == read_search("sweep", {}).points == [(1e-4, 5, 8)]


def test_a_family_of_the_users_own_names_its_columns(own: Path) -> None:
    (own / "task").mkdir()
    file = own / "task" / "mine.yaml"
    use_own_folder(own)
    asked = ["task=mine", "task.hub=owner/set", "backbone=tiny-bart"]
    file.write_text("defaults: [summarize, _self_]\nfamily: mine\n", "utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml: must name columns, as in"):
        compose(asked)
    file.write_text(f"{file.read_text()}inputs: [long]\nlabel: short\n", "utf-8")
    assert compose(asked).task.options["columns"]["source"] == "long"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["params", "pruner=largest", "backbone=tiny-bert"],
        ["table", "mine", "pruner=largest"],
        ["runs", "pruner=largest"],
        ["list", "pruners"],
    ],
)
def test_a_verb_finds_its_choices(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(own.parent)
    Path("outputs").mkdir()
    monkeypatch.setattr("sys.argv", ["sparsead", *words, "--config-dir", str(own)])
    cli.main()
    assert capsys.readouterr().out
