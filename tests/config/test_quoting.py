"""Values that Hydra's grammar refuses without quotes: read as a user means them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from sparsead.config.arguments import Parser, add_outputs, name_outputs
from sparsead.config.compose import compose, compose_as
from sparsead.config.quoting import format_override, outputs_option, quote_override, read_value
from sparsead.errors import ConfigError
from sparsead.runs.request import RunRequest


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@example("a\\")
@example("it's")
@example("\\'")
@example("'")
def test_any_value_comes_back_from_its_override(value: str) -> None:
    override = format_override("task.train", value)
    assert OverridesParser.create().parse_override(override).value() == value


@pytest.mark.parametrize(
    "value",
    [
        *("données.csv", "数据.csv", "a=b.csv", "it's.csv", "x(1).csv", "x[1].csv", "x{1}.csv"),
        *("x!1.csv", "x#1.csv", "x&1.csv", "x;1.csv", "a'b=c.csv", 'say "no".csv', "^", "<a>"),
        *("été/ça va.csv", "a b.csv", "a.csv", "/tmp/x-1_2.csv", "C:\\é"),
    ],
)
def test_a_value_with_one_meaning_is_read_as_it_stands(value: str) -> None:
    assert read_value(f"task.train={value}") == value


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("task.labels=[négatif,positif]", ["négatif", "positif"]),
        ("task.labels=['négatif', très bon ,c]", ["négatif", "très bon", "c"]),
        ("task.labels=['a,b',é]", ["a,b", "é"]),
        ("protocol.betas=[0.9,0.999]", [0.9, 0.999]),
    ],
)
def test_elements_of_a_list_are_quoted_one_by_one(override: str, value: object) -> None:
    assert OverridesParser.create().parse_override(quote_override(override)).value() == value


def test_elements_of_a_sweep_are_quoted_one_by_one() -> None:
    override = OverridesParser.create().parse_override(quote_override("task.train=é.csv,ü.csv"))
    assert override.is_sweep_override()
    assert [*override.sweep_string_iterator()] == ["'é.csv'", "'ü.csv'"]


@pytest.mark.parametrize(
    "argument",
    [
        *("seed=1,2", "pruner=glob(s*)", "seed=range(1,4)", "task.train='é.csv'", "--cfg", "-m"),
        *("task.train=${oc.env:HOME}/t.csv", "+width=32", "~adapter.dropout", "seed", "a b"),
    ],
)
def test_what_hydra_reads_and_what_is_no_override_is_left(argument: str) -> None:
    assert quote_override(argument) == argument


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_value("outputs=~/runs") == f"{tmp_path}/runs"
    assert read_value("outputs=~") == str(tmp_path)
    assert read_value("outputs=~nobody-of-this-name/a") == "~nobody-of-this-name/a"
    assert read_value("outputs=a~b") == "a~b"


def test_a_tilde_in_a_file_and_in_an_option_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "t.csv").touch()
    given = ["task=text", "+mine='~/t.csv'", "task.train=${mine}", "task.validation=${mine}"]
    assert compose(given).task.train == str(tmp_path / "t.csv")
    parser = Parser("sparsead table")
    add_outputs(parser)
    assert parser.parse([f"--outputs={Path('~')}"]).outputs == tmp_path


def test_outputs_of_such_names_are_composed() -> None:
    for name in ("résultats", "a=b", "x[1]"):
        assert compose_as(RunRequest.from_config, [f"outputs={name}"]).outputs == Path(name)


@pytest.mark.parametrize("name", ["a,b", "[x]", "{x}", "1", "it's", "true", "plain"])
def test_a_folder_behind_its_option_has_one_meaning(name: str) -> None:
    for words in (["--outputs", name], [f"--outputs={name}"]):
        assert compose_as(RunRequest.from_config, name_outputs(words)).outputs == Path(name)


def test_a_comma_is_a_sweep_and_the_message_names_the_quotes() -> None:
    with pytest.raises(ConfigError, match=r"add -m to sweep .*quotes, as in \"task.train='a,b"):
        compose(["task=text", "task.train=a,b.csv"])


@pytest.mark.parametrize("override", ["protocol.betas=[0.9,0.999", "task.labels=[a,b"])
def test_a_bracket_or_a_quote_that_is_not_closed_is_refused(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose([override])
    assert str(error.value).startswith(f"{override}: cannot be read as KEY=VALUE; a comma or ")
    assert "\n" not in str(error.value)


def test_a_folder_in_a_command_to_copy_is_one_word_of_a_shell() -> None:
    assert outputs_option(Path("outputs")) == ""
    for name in ("my runs", "a;b", "it's", "$(x)"):
        assert shlex.split(outputs_option(Path(name))) == ["--outputs", name]
