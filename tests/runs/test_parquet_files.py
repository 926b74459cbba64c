"""Parquet files of a stranger: what they decode to is bounded, and other files are read whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from sparsead.runs.parquet_files import BoundedParquet
from sparsead.runs.parquet_pages import measure_pages
from watched_memory import watched_memory

COUNT = 1000
TEXT = "x" * (1 << 16)
BOMB = COUNT * len(TEXT)
LIMIT = 1 << 20


def written(columns: dict[str, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(
        pyarrow.table(columns), stream, compression="zstd", store_schema=False, **options
    )
    return stream.getvalue()


def repeated() -> pyarrow.Array:
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * COUNT, pyarrow.int32()), [TEXT])


def in_one_row(values: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, len(values)], pyarrow.int32()), values)


PREFIXES = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
BOMBS: dict[str, Callable[[], bytes]] = {
    "one text in every row": lambda: written({"a": repeated()}),
    "texts that repeat the one before": lambda: written({"a": [TEXT] * COUNT}, **PREFIXES),
    "texts without a dictionary": lambda: written({"a": [TEXT] * COUNT}, use_dictionary=False),
    "one text in a list": lambda: written({"a": in_one_row(repeated())}),
    "one text in a list of objects": lambda: written(
        {"a": in_one_row(pyarrow.StructArray.from_arrays([repeated()], ["b"]))}
    ),
    "texts in a list that repeat the one before": lambda: written(
        {"a": in_one_row(pyarrow.array([TEXT] * COUNT))}, **PREFIXES
    ),
    "a list of one number": lambda: written({"a": in_one_row(pyarrow.array([1.0] * (BOMB // 64)))}),
    "one number in every row": lambda: written({"a": [1.0] * (BOMB // 64)}),
}


def encoded(number: int, length: int = 1) -> bytes:
    """Return how a footer holds a size, in at least so many bytes."""
    digits: list[int] = []
    left = 2 * number
    while left or len(digits) < length:
        digits.append(left & 127 | 128)
        left >>= 7
    return bytes([*digits[:-1], digits[-1] & 127])


def understated(content: bytes) -> bytes:
    """Return a file whose footer says that each column takes one byte, and has a value a row."""
    metadata = parquet.ParquetFile(io.BytesIO(content)).metadata
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:]
    for number in range(metadata.num_columns):
        size = encoded(metadata.row_group(0).column(number).total_uncompressed_size)
        assert footer.count(size)
        footer = footer.replace(size, encoded(1, len(size)))
        values = encoded(metadata.row_group(0).column(number).num_values)
        if metadata.row_group(0).column(number).num_values != metadata.num_rows:
            footer = footer.replace(values, encoded(1, len(values)))
    sizes = parquet.ParquetFile(io.BytesIO(content[:start] + footer)).metadata.row_group(0)
    assert sizes.column(0).total_uncompressed_size == 1
    return content[:start] + footer


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("alter", [bytes, understated])
def test_a_file_that_decodes_to_too_much_is_refused_before_it_does(
    kind: str, alter: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsead.runs.parquet_files.LEAST_LIMIT", LIMIT)
    monkeypatch.setattr("sparsead.runs.parquet_files.BYTES_AT_ONCE", LIMIT // 4)
    content = alter(BOMBS[kind]())
    assert len(content) < BOMB // 1000
    with (
        watched_memory() as most,
        pytest.raises((ValueError, OSError), match=r"too large for its size|Not yet implemented"),
    ):
        BoundedParquet(content).read()
    assert most() < 2 * LIMIT


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("checksum", [True, False])
def test_pages_take_what_an_honest_footer_says(codec: str, version: str, checksum: bool) -> None:
    stream = io.BytesIO()
    texts = [f"{number} {'x' * (number % 300)}" for number in range(3000)]
    parquet.write_table(
        pyarrow.table({"a": texts, "b": [texts[:3]] * 3000, "c": [n / 3 for n in range(3000)]}),
        stream,
        compression=codec,
        data_page_version=version,
        data_page_size=5000,
        write_page_checksum=checksum,
        row_group_size=2000,
    )
    metadata = parquet.ParquetFile(stream).metadata
    for group in map(metadata.row_group, range(2)):
        for column in map(group.column, range(3)):
            start = column.dictionary_page_offset or column.data_page_offset
            size, values = measure_pages(stream, start, column.total_compressed_size)
            assert values == column.num_values
            # The footer counts the headers too.
            assert 0.9 * column.total_uncompressed_size < size < column.total_uncompressed_size


def measured(content: bytes, start: int) -> int | str:
    try:
        return min(measure_pages(io.BytesIO(content), start, 40))
    except ValueError as error:
        return str(error)


@given(content=st.binary(max_size=40), start=st.integers(-3, 3))
@example(content=b"\x18" + b"\xff" * 9 + b"\x01", start=0)
@example(content=b"\x1c" * 40, start=0)
def test_what_has_no_headers_of_pages_is_refused_or_has_a_size(content: bytes, start: int) -> None:
    found = measured(content, start)
    if isinstance(found, str):
        assert "the header of one of its pages" in found or "negative seek value" in found
    else:
        assert found >= 0
    assert isinstance(measured(b"", start), str)


def test_a_column_that_is_named_as_a_part_of_another_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the name of its column a\.b is that of a part"):
        BoundedParquet(written({"a": ["x"], "a.b": in_one_row(repeated())})).read()


COLUMNS: dict[str, list[Any]] = {
    "text": [f"text {number % 7}" for number in range(500)],
    "number": [None if number % 5 else number / 3 for number in range(500)],
    "texts": [[str(n % 11), None] * (n % 3) if n % 13 else None for n in range(500)],
    "objects": [[{"text": f"{n % 9}", "score": n / 2}] * (n % 4) for n in range(500)],
    "shares": [{"a": n / 500, "b": None} for n in range(500)],
    "nothing": [None] * 500,
}


@pytest.mark.parametrize("rows", [1, 100, 500])
def test_whatever_is_not_too_large_is_read_as_it_is(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsead.runs.parquet_files.BYTES_AT_ONCE", 3000)
    table = pyarrow.table(COLUMNS).replace_schema_metadata({"a": "b"})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=rows)
    for content in (tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes()):
        file = BoundedParquet(content)
        assert (file.rows, file.schema.names) == (500, list(COLUMNS))
        assert file.read().equals(table)
        assert file.read().schema.metadata == {b"a": b"b"}
    batches = list(BoundedParquet(tmp_path / "a.parquet").batches(["text"]))
    assert len(batches) > 1
    assert [text for batch in batches for text in batch["text"].to_pylist()] == COLUMNS["text"]
