"""What comes from a file is shown as text: it moves no cursor, runs no formula and no markup."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsead.errors import fail, warn
from sparsead.errors.display import (
    SafeFormatter,
    escape_controls,
    escape_formula,
    escape_json,
    one_line,
    tell,
)
from sparsead.report.formats import FORMATS, to_plain

TEXT = st.text(st.characters())
HOSTILE = [
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[1A",
    "\x9b2J",
    "a\rb",
    "\u202egnp.exe",
    "\ud800",
    "line\u2028line",
]


def is_safe(text: str) -> bool:
    """Tell whether a text has no control, format or surrogate character but line feed and tab."""
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in text)


@given(TEXT)
def test_no_control_character_is_left(text: str) -> None:
    assert is_safe(escape_controls(text))
    assert is_safe(one_line(text))
    assert "\n" not in one_line(text)
    escape_controls(text).encode("utf-8")
    if is_safe(text) and text.isascii():
        assert escape_controls(text) == text


@given(st.dictionaries(TEXT, TEXT))
def test_json_keeps_its_values(values: dict[str, str]) -> None:
    text = escape_json(json.dumps(values, ensure_ascii=False))
    assert json.loads(text) == values
    assert is_safe(text)


@pytest.mark.parametrize("cell", ['=HYPERLINK("http://x")', "+1+1", "-1+1", "@SUM(A1)", "\t=1"])
def test_a_formula_is_shown_and_not_run(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", [-1, 0.5, None, True, "-0.5", "+1e-3", "text", ""])
def test_what_is_no_formula_stays_as_it_is(cell: object) -> None:
    assert escape_formula(cell) == cell


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", [*FORMATS, "plain"])
def test_no_format_of_a_table_prints_control_characters(form: str, text: str) -> None:
    written = (FORMATS | {"plain": to_plain})[form]([text, "b"], [{text: text, "b": f"x{text}"}])
    assert is_safe(written), written
    written.encode("utf-8")


def test_a_csv_table_holds_no_formula() -> None:
    text = FORMATS["csv"](["=a"], [{"=a": "=HYPERLINK(1)", "b": -1.5}, {"=a": None}])
    assert list(csv.reader(io.StringIO(text))) == [
        ["'=a", "b"],
        ["'=HYPERLINK(1)", "-1.5"],
        ["", ""],
    ]


def test_markup_is_text_in_markdown_and_latex() -> None:
    cell = "<script>[x](javascript:y)\\input{z}`"
    markdown = FORMATS["md"](["a"], [{"a": cell}])
    assert "<script>" not in markdown
    assert r"\[x\](" in markdown
    assert r"\textbackslash{}input\{z\}" in FORMATS["latex"](["a"], [{"a": cell}])


@pytest.mark.parametrize("text", HOSTILE)
def test_messages_and_logs_are_safe(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(f"{text}\nand more")
    warn(f"{text}\nand more")
    refused, warned, *left = capsys.readouterr().err.splitlines()
    assert not left
    assert is_safe(refused + warned)
    record = logging.LogRecord("x", logging.INFO, "x", 1, "class %s", (text,), None)
    assert is_safe(SafeFormatter("%(message)s").format(record))


def test_a_terminal_breaks_a_message_between_words_and_a_file_gets_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "runs delete: would delete all 9 runs; give a filter such as state=failed, or --all"
    tell(message)
    assert capsys.readouterr().err == f"sparsead: {message}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    tell(message)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("such as")
    assert second == "state=failed, or --all"


def test_a_message_that_nobody_could_read_is_cut_in_its_middle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(f"title={3_000_000 * 'x'}: must be one text")
    told = capsys.readouterr().err
    assert len(told) < 5000
    assert told.startswith("sparsead: title=xxx")
    assert told.endswith("xxx: must be one text\n")
