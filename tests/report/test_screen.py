"""A table is never wider than the terminal, and says what of it is not shown."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsead.report import formats, screen
from sparsead.report.formats import Marked, to_plain, to_rich

ROWS: list[dict[str, Any]] = [
    {
        "backbone": "minilm",
        "method": method,
        "#param": Marked("1.58", below=("paper 1.3",)),
        "CoLA": Marked("42.10 ± 0.32", "bold", ("paper 41.0", "+2.00, p 0.016")),
        "MRPC": Marked(score, below=("paper 88.1",)),
        "RTE": "70.00 ± 1.00",
        "avg": score,
    }
    for method, score in (("Dense adapter", "84.00 ± 1.00"), ("SNIP at 40 %", "86.00 ± 1.00"))
]
COLUMNS = list(ROWS[0])


def at_width(monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    for module in (formats, screen):
        monkeypatch.setattr(module, "screen_width", lambda: width)


def without_styles(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("form", [to_rich, to_plain])
def test_a_table_fits_and_names_what_is_missing(
    form: Any, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_width(monkeypatch, width)
    lines = without_styles(form(COLUMNS, ROWS, ["method", "avg", *COLUMNS[3:]], wide=False))
    table = [line for line in lines if not line.startswith(("Not shown", "In every row"))]
    assert all(len(line) <= width for line in table), lines
    head = next(line for line in table if line.strip())
    assert "method" in head
    assert ("avg" in head) or width == 40
    said = " ".join(lines)
    assert all(column in said for column in COLUMNS), said


def test_columns_of_one_value_go_first_and_are_given_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_width(monkeypatch, 60)
    text = "\n".join(without_styles(to_rich(COLUMNS, ROWS, wide=False)))
    said = text[text.index("In every row: ") :].replace("\n", " ")
    assert "#param 1.58; paper 1.3" in said
    assert "RTE 70.00 ± 1.00" in said
    assert "Not shown" not in said  # the others fit
    at_width(monkeypatch, 200)
    assert "In every row" not in to_rich(COLUMNS, ROWS, wide=False)
    at_width(monkeypatch, 60)
    assert "In every row" not in to_rich(COLUMNS, ROWS, wide=True)


def test_hidden_keys_are_said_to_tell_rows_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    at_width(monkeypatch, 20)
    rows = [{"method": f"SNIP at {n}0 %", "protocol.epochs": n, "p.": n * 10000} for n in (1, 2)]
    said = " ".join(without_styles(to_plain(list(rows[0]), rows, ["method"], wide=False))[3:])
    assert "Rows that look alike differ in protocol.epochs (--wide shows them)." in said
    assert "Not shown here: p. (--wide shows all)." in said


def test_off_a_terminal_every_column_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    at_width(monkeypatch, None)
    head = to_rich(COLUMNS, ROWS).splitlines()[1]
    assert all(column in head for column in COLUMNS)


@pytest.mark.parametrize("form", [to_rich, to_plain])
def test_off_a_terminal_marks_are_characters(form: Any) -> None:
    rows = [{"best": Marked("9.1", "bold"), "equal": Marked("9.0", "underline"), "other": "8.0"}]
    text = form(list(rows[0]), rows)
    assert all(cell in text.split() for cell in ("**9.1**", "_9.0_", "8.0"))


def test_a_terminal_without_colours_has_bold_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [{"best": Marked("9.1", "bold"), "other": Marked("8.0", below=("dim",))}]
    text = to_rich(list(rows[0]), rows)
    assert "\x1b[1m9.1" in text
    assert "\x1b[3" not in text
    monkeypatch.setenv("TERM", "dumb")
    assert "**9.1**" in to_rich(list(rows[0]), rows)


def test_long_texts_are_broken_over_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    at_width(monkeypatch, 50)
    lines = without_styles(to_rich(["what", "here"], [{"what": "it", "here": "word " * 40}]))
    assert max(map(len, lines)) <= 50
    assert " ".join(lines).count("word") == 40


@given(
    st.lists(st.text("ab é", min_size=1, max_size=30), min_size=1, max_size=12, unique=True),
    st.integers(20, 200),
)
def test_the_most_important_column_is_always_shown(columns: list[str], width: int) -> None:
    cells = [[f"{column}{row}" for column in columns] for row in range(3)]
    fitted = screen.fit_columns(columns, cells, columns, width, 3)
    assert fitted.shown[0] == columns[0]
    assert [c for c in columns if c in fitted.shown] == fitted.shown
    assert sorted([*fitted.shown, *fitted.hidden]) == sorted(columns)
