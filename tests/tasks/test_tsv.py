from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsead.errors import DataError
from sparsead.tasks.tsv import read_tsv

COLUMNS = {"text": "sentence", "label": "label"}
FIELD = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=10), st.booleans(), st.booleans())
def test_any_text_without_tabs_and_line_ends_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    mark: bool,
    final_newline: bool,
) -> None:
    path = tmp_path_factory.mktemp("tsv") / "any.tsv"
    lines = ["label\tsentence", *(f"{label}\t{text}" for text, label in rows)]
    content = "\n".join(lines) + "\n" * final_newline
    path.write_bytes(("\ufeff" * mark + content).encode())
    if not final_newline or rows[-1] != ("", ""):
        assert read_tsv(path, COLUMNS).values == [
            {"text": text, "label": label} for text, label in rows
        ]


def test_windows_line_ends_and_quotes_are_text(tmp_path: Path) -> None:
    path = tmp_path / "quotes.tsv"
    path.write_bytes(b'sentence\tlabel\r\nsay "no\t1\r\n"yes"\t0\r\n')
    assert [row["text"] for row in read_tsv(path, COLUMNS).values] == ['say "no', '"yes"']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no examples"),
        (b"sentence\tlabel\n", "has no examples"),
        (b"sentence\tlabel\na\t1\nb\n", "broken.tsv:3: has 1 tab-separated fields, not 2"),
        (b"sentence\tlabel\na\t1\tx\n", "broken.tsv:2: has 3 tab-separated fields"),
        (b"sentence\tlabel\na\t1\n\xff\t0\n", "broken.tsv:3: byte 1 is not UTF-8"),
        (b"text\tlabel\na\t1\n", "broken.tsv:1: has no column 'sentence'"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_tsv(path, COLUMNS)
