"""What no reader of data files takes: a column twice, a header among the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sparsead.errors import DataError
from sparsead.tasks.files import read_file
from sparsead.tasks.squad_json import read_squad

Table = list[list[str]]
"""The header and the rows."""


def _delimited(mark: str) -> Callable[[Path, Table], None]:
    def write(path: Path, table: Table) -> None:
        path.write_text("".join(f"{mark.join(row)}\n" for row in table), "utf-8")

    return write


def _json_lines(path: Path, table: Table) -> None:
    header, *rows = table
    lines = [
        ", ".join(f"{json.dumps(key)}: {json.dumps(v)}" for key, v in zip(header, row, strict=True))
        for row in rows
    ]
    path.write_text("".join(f"{{{line}}}\n" for line in lines), "utf-8")


def _parquet(path: Path, table: Table) -> None:
    header, *rows = table
    columns = [pyarrow.array(list(values)) for values in zip(*rows, strict=True)]
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=header), path)


WRITERS = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("header", [["text", "label", "text"], ["text", "label", "label"]])
def test_a_column_twice_is_refused(tmp_path: Path, suffix: str, header: list[str]) -> None:
    path = tmp_path / f"twice{suffix}"
    WRITERS[suffix](path, [header, ["a", "1", "b"], ["c", "0", "d"]])
    with pytest.raises(DataError, match=r"twice\S*: the (column|key) '\w+' is there twice"):
        read_file(path, ["text", "label"])


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_among_the_rows_is_refused(tmp_path: Path, suffix: str, mark: str) -> None:
    if mark and suffix in (".jsonl", ".parquet"):
        pytest.skip("these have no header line that could begin with a byte order mark")
    path = tmp_path / f"joined{suffix}"
    rows = [["text", "label"], ["a", "1"], [f"{mark}text", "label"], ["b", "0"]]
    WRITERS[suffix](path, rows)
    with pytest.raises(DataError, match=r"joined\.\w+:\d: text: .*two files joined"):
        read_file(path, ["text", "label"])


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_text_that_is_the_name_of_its_column_is_a_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path, [["text", "label"], ["text", "1"], ["b", "label"]])
    assert [row["text"] for row in read_file(path, ["text", "label"]).values] == ["text", "b"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_lines_that_end_with_a_carriage_return_alone_are_lines(
    tmp_path: Path, suffix: str, last: bytes
) -> None:
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path, [["text", "label"], ["a", "1"], ["b", "0"]])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r") + last)
    assert read_file(path, ["text", "label"]).values == [
        {"text": "a", "label": "1"},
        {"text": "b", "label": "0"},
    ]


def test_an_object_and_a_column_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a.b": "x", "a": {"b": "y"}}\n', "utf-8")
    with pytest.raises(DataError, match=r"the column 'a\.b' is there twice"):
        read_file(path, ["a.b"])
    objects = pyarrow.table({"a.b": ["x"], "a": [{"b": "y"}]})
    parquet.write_table(objects, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"the column 'a\.b' is there twice"):
        read_file(tmp_path / "rows.parquet", ["a.b"])


def test_a_text_that_is_not_utf8_in_parquet_is_one_line(tmp_path: Path) -> None:
    binary = pyarrow.array([b"a\xff"], pyarrow.binary())
    text = pyarrow.StringArray.from_buffers(1, *binary.buffers()[1:])
    parquet.write_table(pyarrow.table({"text": text}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: is not a readable Parquet file"):
        read_file(tmp_path / "rows.parquet", ["text"])


def test_a_number_of_thousands_of_digits_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    path.write_text('{"data": ' + "9" * 5000 + "}", "utf-8")
    with pytest.raises(DataError, match=r"huge\.json: is not JSON that can be read"):
        read_squad(path)


def test_a_key_twice_in_a_question_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"data": [], "data": [1]}', "utf-8")
    with pytest.raises(DataError, match=r"one\.json: the key 'data' is there twice"):
        read_squad(path)
