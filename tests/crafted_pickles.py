"""Files of pickled weights that somebody crafted, for the tests of everything that reads some."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import torch


def save(content: object, **options: bool) -> bytes:
    torch.save(content, stream := io.BytesIO(), **options)
    return stream.getvalue()


def repack(content: bytes, compression: int = ZIP_STORED, **entries: bytes) -> bytes:
    """Return the same zip file with other entries, and compressed in another way."""
    with (
        ZipFile(io.BytesIO(content)) as there,
        ZipFile(stream := io.BytesIO(), "w", compression) as new,
    ):
        for name in there.namelist():
            key = name.rpartition("/")[2].replace(".", "_")
            new.writestr(name, entries.get(key, there.read(name)))
    return stream.getvalue()


def pickled(opcodes: bytes) -> Callable[[], bytes]:
    return lambda: repack(save({"x": torch.ones(1)}), data_pkl=b"\x80\x02" + opcodes)


CRAFTED: dict[str, Callable[[], bytes]] = {
    "an empty file": lambda: b"",
    "a zip file that is cut off": lambda: save({"x": torch.ones(1)})[:100],
    "a pickle that takes from an empty stack": pickled(b"."),
    "a pickle that takes from an empty memo": pickled(b"h\x07."),
    "a pickle that ends": pickled(b""),
    "a pickle that sets an item of a number": pickled(b"K\x01K\x01K\x01s."),
    "a pickle with a key that cannot be one": pickled(b"}]K\x01s."),
    "a pickle of a tuple of nothing": pickled(b"\x85."),
    "a compressed storage": lambda: repack(save({"x": torch.zeros(10**6)}), ZIP_DEFLATED),
    "a storage that is repeated": lambda: save({"x": torch.ones(1).expand(10**12)}),
    "a storage with many names": lambda: save(
        {str(number): each for number, each in enumerate([torch.ones(10_000)] * 100)}
    ),
    "sparse tensors": lambda: save({"x": torch.eye(3).to_sparse()}),
    "tensors without values": lambda: save({"x": torch.ones(3, device="meta")}),
    "numbers": lambda: save({"x": [1]}),
    "tensors without names": lambda: save([torch.ones(1)]),
    "an old pickle of numbers": lambda: save({"x": 1}, _use_new_zipfile_serialization=False),
}


def write_crafted(kind: str, file: Path) -> None:
    """Write one of the files that `CRAFTED` names."""
    file.write_bytes(CRAFTED[kind]())
