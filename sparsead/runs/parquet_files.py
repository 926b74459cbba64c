"""The one reader of Parquet files that somebody else may have written: it bounds what it decodes.

A few bytes of Parquet can stand for any number of values, of any length. What a file would become
in memory is therefore computed from the headers of its pages before anything is decoded, and
counted again while it is decoded. The limit is a multiple of the file's own size, but never below
`LEAST_LIMIT`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sparsead.runs.parquet_pages import Pages, measure_pages

if TYPE_CHECKING:
    from pyarrow import Array, DataType, RecordBatch, Schema, Table
    from pyarrow.parquet import ColumnChunkMetaData

LEAST_LIMIT = 1 << 28
"""Bytes that every file may become, however small it is: columns of equal values compress well."""
_LARGEST_RATIO = 1000
"""A file whose values take more bytes than this many times its own is refused."""
BYTES_AT_ONCE = 1 << 26
_MOST_ROWS_AT_ONCE = 1 << 16
_LARGEST_NUMBER = 8
"""Bytes of a number, or of a text's place among the different texts of its column."""


class BoundedParquet:
    """A Parquet file with columns of texts, bytes and numbers, of which only so much is decoded.

    Its methods may also raise any error of pyarrow's: translate them all.
    """

    def __init__(self, content: Path | bytes) -> None:
        """Read the footer of a file, or of its bytes."""
        from pyarrow import parquet

        self._content = content
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._limit = max(LEAST_LIMIT, _LARGEST_RATIO * size)
        self._opened = parquet.ParquetFile(self._source())

    @property
    def schema(self) -> Schema:
        """The names and the types of the columns."""
        return self._opened.schema_arrow

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self._opened.metadata.num_rows)

    def read(self) -> Table:
        """Return all columns.

        Raises:
            ValueError: they are too large for the file's size.
        """
        from pyarrow import Table, schema

        lists = [field.name for field in self.schema if _has_list(field.type)]
        flat = [field for field in self.schema if field.name not in lists]
        names = [field.name for field in flat]
        if alike := [name for name in lists if _is_part(name, names)]:
            raise ValueError(f"the name of its column {alike[0]} is that of a part of another one")
        table = Table.from_batches(self.batches(names), schema(flat))
        if lists:
            read = self._read_lists(lists)
            for name in lists:
                table = table.append_column(name, read[name])
        return table.select(self.schema.names).replace_schema_metadata(self.schema.metadata)

    def batches(self, columns: Sequence[str]) -> Iterator[RecordBatch]:
        """Yield the rows of columns without lists, as many at once as take little memory.

        No value is larger than all pages of its row group, whose size their headers tell.

        Raises:
            ValueError: they are too large for the file's size.
        """
        largest = max(self._sizes(columns), default=0)
        at_once = min(max(1, BYTES_AT_ONCE // max(1, largest)), _MOST_ROWS_AT_ONCE)
        left = self._limit
        for batch in self._opened.iter_batches(at_once, columns=list(columns)):
            left -= batch.nbytes
            _check_left(left)
            yield batch

    def _read_lists(self, columns: Sequence[str]) -> Table:
        """Return columns of lists, of which one row may have any number of values.

        Fewer rows at once would bound nothing. A text that occurs twice is therefore decoded once,
        so that the texts take no more than their pages, and repeated only if there is room.
        """
        from pyarrow import concat_tables, parquet, schema

        self._sizes(columns)
        wanted = schema([field for field in self.schema if field.name in columns])
        leaves = map(self._opened.schema.column, range(len(self._opened.schema.names)))
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        file = parquet.ParquetFile(self._source(), read_dictionary=texts)
        tables, left = [wanted.empty_table()], self._limit
        for number in range(file.num_row_groups):  # each has texts of its own
            group = file.read_row_group(number, columns=wanted.names)
            left -= sum(_texts_size(part) for column in group.columns for part in column.chunks)
            _check_left(left)
            tables.append(group.cast(wanted))
        return concat_tables(tables)

    def _source(self) -> Path | BytesIO:
        return BytesIO(self._content) if isinstance(self._content, bytes) else self._content

    def _sizes(self, columns: Sequence[str]) -> list[int]:
        """Return how many bytes the pages of some columns take in each row group.

        Raises:
            ValueError: together they are too large for the file's size.
        """
        metadata = self._opened.metadata
        left, sizes = self._limit, []
        with self._open() as file:
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                parts = map(group.column, range(group.num_columns))
                read = [part for part in parts if _is_part(part.path_in_schema, columns)]
                pages = [_measure_column(file, part) for part in read]
                sizes.append(sum(each.size for each in pages))
                left -= sizes[-1] + sum(each.values * _LARGEST_NUMBER for each in pages)
                _check_left(left)
        return sizes

    def _open(self) -> BinaryIO:
        source = self._source()
        return source.open("rb") if isinstance(source, Path) else source


def _is_part(path: str, columns: Sequence[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _measure_column(file: BinaryIO, part: ColumnChunkMetaData) -> Pages:
    start = part.data_page_offset
    if part.has_dictionary_page:
        start = min(start, part.dictionary_page_offset)
    return measure_pages(file, start, part.total_compressed_size)


def _check_left(left: int) -> None:
    if left < 0:
        raise ValueError("its content is too large for its size")


def _has_list(kind: DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(_has_list(part.type) for part in kind.fields)
    return bool(types.is_nested(kind))


def _texts_size(array: Array) -> int:
    """Return the bytes of the texts of an array in which each different text is held once."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary)
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_list(array.type):
        return _texts_size(array.flatten())
    if types.is_struct(array.type):
        return sum(map(_texts_size, array.flatten()))
    return 0
