"""The sizes of a Parquet column's pages, read from their headers.

The footer names the sizes too, but nothing that reads a file holds them against the pages: a wrong
footer is noticed only by the memory that the pages take. A page's own header is reliable: a page
that does not decompress to the size that it names is refused, and no more values are decoded.

The headers are structs of Thrift's compact protocol; their fields are those of `PageHeader` in
https://github.com/apache/parquet-format (`parquet.thrift`).
"""

from __future__ import annotations

from os import SEEK_CUR
from typing import BinaryIO, NamedTuple, TypeAlias

_UNCOMPRESSED, _COMPRESSED = (2,), (3,)
"""The fields of a header that hold the page's sizes in bytes."""
_VALUES = ((5, 1), (8, 1))
"""The fields that hold the number of values: in the struct of either version of a page of data."""
_INTEGERS = (4, 5, 6)
_BOOLEANS = (1, 2)
_BINARY, _STRUCT = 8, 12
"""The types of the fields that a header has, in Thrift's compact protocol."""
_DEEPEST = 4
"""So many structs within each other; a header has two or three."""
_BITS = 64
"""Bits of the largest number."""
_LARGEST_SIZE = 1 << 31
"""Bytes of a page, or of a value in its header."""
_UNREADABLE = "the header of one of its pages cannot be read"


Fields: TypeAlias = dict[tuple[int, ...], int]


class Pages(NamedTuple):
    """The pages of a column of a row group: bytes after decompression, and number of values."""

    size: int
    values: int


def measure_pages(file: BinaryIO, start: int, length: int) -> Pages:
    """Return what the pages of a column of a row group take.

    Args:
        file: the Parquet file.
        start: where the column's first page begins, in bytes.
        length: how many bytes all its pages and their headers take in the file.

    Raises:
        ValueError: the headers are not those of pages.
    """
    position, size, values = start, 0, 0
    while position < start + length:
        file.seek(position)
        header = _read_struct(file)
        stored = header.get(_COMPRESSED, -1)
        if stored < 0:
            raise ValueError("the header of one of its pages has no size")
        # Of a page that is not compressed, the stored size counts, whatever its header says.
        size += max(stored, header.get(_UNCOMPRESSED, 0))
        values += max(0, *(header.get(field, 0) for field in _VALUES))
        position = file.tell() + stored
    return Pages(size, values)


def _read_struct(file: BinaryIO, path: tuple[int, ...] = ()) -> Fields:
    """Return the whole numbers of a struct and of those in it, by the ids that lead to them."""
    if len(path) == _DEEPEST:
        raise ValueError(_UNREADABLE)
    fields: Fields = {}
    number = 0
    while header := _read_byte(file):
        step, kind = header >> 4, header & 15
        number = number + step if step else _read_signed(file)
        if kind in _INTEGERS:
            fields[*path, number] = _read_signed(file)
        elif kind == _STRUCT:
            fields |= _read_struct(file, (*path, number))
        else:
            _skip_value(file, kind)
    return fields


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == _BINARY:
        file.seek(min(_read_unsigned(file), _LARGEST_SIZE), SEEK_CUR)
    elif kind not in _BOOLEANS:
        raise ValueError(_UNREADABLE)


def _read_signed(file: BinaryIO) -> int:
    """Return a number whose lowest bit holds its sign."""
    number = _read_unsigned(file)
    return (number >> 1) ^ -(number & 1)


def _read_unsigned(file: BinaryIO) -> int:
    """Return a number of which each byte holds 7 bits, the lowest first."""
    number = 0
    for shift in range(0, _BITS, 7):
        byte = _read_byte(file)
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number
    raise ValueError(_UNREADABLE)


def _read_byte(file: BinaryIO) -> int:
    byte = file.read(1)
    if not byte:
        raise ValueError("the header of one of its pages is cut off")
    return byte[0]
