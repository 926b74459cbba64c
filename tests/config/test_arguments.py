from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparsead.config.arguments import Parser, add_outputs, add_table, user_path
from sparsead.errors import ConfigError


@pytest.fixture
def parser() -> Parser:
    parser = Parser("sparsead verb", "Do it.")
    add_table(parser)
    add_outputs(parser)
    parser.add_argument("--format", choices=["md", "csv"])
    parser.add_argument("--out", type=user_path)
    return parser


def test_options_stand_before_between_and_after_the_other_words(parser: Parser) -> None:
    words = ["table1", "seeds=2", "backbone=minilm"]
    for at in range(len(words) + 1):
        found = parser.parse([*words[:at], "--format", "md", *words[at:]])
        assert (found.table, found.overrides, found.format) == ("table1", words[1:], "md")
    assert parser.parse(["table1"]).overrides == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "verb: the following arguments are required: TABLE (usage: sparsead verb "),
        (["t", "--fromat", "md"], "verb: option=--fromat: no such choice; did you mean --format?"),
        (["t", "--form=md"], "verb: option=--form: no such choice; did you mean --format?"),
        (["t", "--format", "mdx"], "verb: --format=mdx: no such choice; did you mean md? (allowed"),
        (["t", "seeds=2", "outputs=/nowhere"], "--outputs /nowhere: is not a folder"),
        (["t", "--config-dir", "/nowhere"], "--config-dir /nowhere: is not a folder"),
        (["t", "--config-dir", ""], "--config-dir '': is not a folder"),
        (["t", "--out", ""], "verb: argument --out: '' is not a path; name a file or folder"),
        (
            ["t", "--lr=1"],
            "verb: --lr: is not an option; a key is typed as protocol.learning_rate=1",
        ),
        (["t", "--epochs", "3"], "verb: --epochs: is not an option; a key is typed as protocol.ep"),
        (["t", "--outputs", "/nowhere"], "--outputs /nowhere: is not a folder"),
    ],
)
def test_a_wrong_argument_is_one_line(parser: Parser, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)) as error:
        parser.parse(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", [["outputs=OUT"], ["--outputs=OUT"], ["--outputs", "OUT"]])
def test_the_folder_of_the_runs_can_be_given_in_either_form(
    parser: Parser, form: list[str], tmp_path: Path
) -> None:
    words = [word.replace("OUT", str(tmp_path)) for word in form]
    found = parser.parse(["t", *words, "seeds=2"])
    assert (found.outputs, found.overrides) == (tmp_path, ["seeds=2"])
    without = Parser("sparsead verb", "Do it.")
    add_table(without)
    assert without.parse(["t", *words]).overrides == [f"outputs={tmp_path}"]
    with pytest.raises(ConfigError, match="--outputs: needs a folder"):
        without.parse(["t", "--outputs"])


def test_a_word_too_many_is_named() -> None:
    parser = Parser("sparsead verb", "Do it.")
    parser.add_argument("run")
    with pytest.raises(ConfigError, match="verb: two: is an unexpected argument"):
        parser.parse(["one", "two"])
