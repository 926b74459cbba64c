"""The sparse adapter file: kept weights, masks of one bit per weight, and unmasked tensors.

It is one safetensors file. All values of one dtype form one flat tensor, `values.DTYPE`, in C
order: the kept values of masked tensors, and all values of the others. All masks form one
bit-packed tensor, `masks`. One key of the safetensors metadata describes the contents and their
order. It is only one key because safetensors writes several in random order, and the same adapter
must give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from sparsead.errors import RecordError
from sparsead.errors.translation import translate_errors
from sparsead.runs.files import check_readable, write_atomically
from sparsead.runs.record import RESULT_FILE, RunRecord

FORMAT = "sparsead-adapter"
VERSION = 1
WEIGHTS_FILE = "adapter.safetensors"

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_MASKS = "masks"
_LARGEST_TABLE = 1 << 26
_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


@dataclass(frozen=True)
class StoredAdapter:
    """What a sparse adapter file holds.

    `tensors` are dense and in the order in which they were saved. They are exactly zero wherever
    the mask of the same name in `masks` (boolean, same shape, True = kept) is False. `metadata` is
    what the caller saved.
    """

    tensors: dict[str, Array]
    masks: dict[str, Mask]
    metadata: dict[str, Any]


def save_sparse(
    path: Path,
    tensors: Mapping[str, Array],
    masks: Mapping[str, Mask],
    metadata: Mapping[str, Any],
) -> None:
    """Write a sparse adapter file atomically; an existing file is replaced.

    In 32 bits, n kept of N masked weights take 4·n + N/8 bytes; a tensor without a mask takes its
    own bytes; names, shapes and checksum take about 1 KiB, and `metadata` its JSON.

    Args:
        path: the file; its folder is created if needed.
        tensors: arrays of booleans, integers or floats, by name.
        masks: for some of these names, a boolean array of the tensor's shape, True = kept. The
            tensor is zero wherever it is False.
        metadata: any value that JSON can represent, with strings as keys.

    Raises:
        RecordError: a mask does not fit its tensor, a dtype or the metadata cannot be stored, or
            the file cannot be written.
    """
    try:
        entries = _checked(tensors, masks)
        document = _document(entries, metadata)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error
    flat = _flatten(entries, tensors, masks)
    document["sha256"] = _checksum(document, flat)
    try:
        write_atomically(path, save(flat, {FORMAT: json.dumps(document)}))
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error


def sparse_size(
    shapes: Mapping[str, Sequence[int]],
    masked: Container[str],
    removed: int,
    metadata: Mapping[str, Any],
) -> int:
    """Return the size in bytes of the file that `save_sparse` would write for 32-bit tensors.

    Args:
        shapes: the tensors' shapes by name, in their order.
        masked: names of the tensors that have a mask.
        removed: number of weights that all masks together remove.
        metadata: the metadata to save, or any of the same length in JSON.
    """
    entries = [_Entry(name, "float32", shape, name in masked) for name, shape in shapes.items()]
    total, prunable = (sum(e.size for e in entries if e.masked >= only) for only in (False, True))
    document = _document(entries, metadata) | {"sha256": hashlib.sha256().hexdigest()}
    payload = {_MASKS: ("U8", math.ceil(prunable / 8)), "values.float32": ("F32", total - removed)}
    if not entries:
        del payload["values.float32"]
    header: dict[str, Any] = {"__metadata__": {FORMAT: json.dumps(document)}}
    end = 0
    for key, (dtype, count) in sorted(payload.items(), key=lambda item: item[1]):
        start, end = end, end + count * (4 if dtype == "F32" else 1)
        header[key] = {"dtype": dtype, "shape": [count], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"))
    return 8 + math.ceil(len(text) / 8) * 8 + end


def load_weights(record: RunRecord) -> StoredAdapter:
    """Read the weights file of a run, and check that it is this run's.

    Raises:
        RecordError: the file cannot be read, or holds the weights of another run.
    """
    path = record.folder / WEIGHTS_FILE
    stored = load_sparse(path)
    if stored.metadata.get("identity") != record.result["identity"]:
        raise RecordError(
            f"{path}: holds the weights of another run, {stored.metadata.get('identity')}; the "
            f"result beside it is of {record.result['identity']}"
        )
    return stored


def check_config(record: RunRecord, stored: StoredAdapter) -> None:
    """Check that a run's result has the configuration that its weights were trained with.

    The weights' file has a checksum, and contains the configuration too. With another one, such as
    another scale of the adapter, the same weights compute something else.

    Raises:
        RecordError: the configurations differ.
    """
    recorded = dict(_list_values(record.result["config"]))
    trained = dict(_list_values(stored.metadata.get("config", record.result["config"])))
    for key in dict.fromkeys((*trained, *recorded)):
        if recorded.get(key) != trained.get(key):
            raise RecordError(
                f"{record.folder / RESULT_FILE}: config.{key}={recorded.get(key)}: the weights "
                f"beside it were trained with {trained.get(key)}"
            )


def _list_values(config: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Yield the values in nested mappings, each with its keys joined by dots."""
    if not isinstance(config, dict) or not config:
        yield ".".join(above), config
        return
    for key, value in config.items():
        yield from _list_values(value, *above, str(key))


def load_sparse(path: Path) -> StoredAdapter:
    """Read a sparse adapter file, bit for bit what was saved.

    Raises:
        RecordError: the file is missing, foreign, of another version, truncated or altered.
    """
    with translate_errors(
        lambda reason: RecordError(f"{path}: is not a readable sparse adapter ({reason})")
    ):
        document, flat = _read(path)
        if document.pop("sha256") != _checksum(document, flat):
            raise ValueError("it was altered: its checksum does not match")
        entries = _unpack_table(document["tensors"])
        masks = _unpack_masks(entries, flat.pop(_MASKS))
        tensors = _unflatten(entries, masks, flat)
        if not isinstance(document["metadata"], dict):
            raise TypeError("its metadata is not a mapping")
        return StoredAdapter(tensors, masks, document["metadata"])


class _Entry(NamedTuple):
    name: str
    dtype: str
    shape: Sequence[int]
    masked: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def key(self) -> str:
        return f"values.{self.dtype}"


def _document(entries: Sequence[_Entry], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "tensors": _pack_table(entries),
        "metadata": json.loads(json.dumps(metadata, allow_nan=False)),
    }


def _checked(tensors: Mapping[str, Array], masks: Mapping[str, Mask]) -> list[_Entry]:
    if strangers := [name for name in masks if name not in tensors]:
        raise ValueError(f"{strangers[0]}: has a mask but no values")
    return [_checked_entry(name, tensor, masks.get(name)) for name, tensor in tensors.items()]


def _checked_entry(name: str, tensor: Array, mask: Mask | None) -> _Entry:
    if tensor.dtype.name not in _DTYPES:
        raise ValueError(f"{name}: {tensor.dtype} is none of {', '.join(sorted(_DTYPES))}")
    if mask is not None:
        if mask.dtype != np.bool_ or mask.shape != tensor.shape:
            expected, found = f"bool{list(tensor.shape)}", f"{mask.dtype}{list(mask.shape)}"
            raise ValueError(f"{name}: its mask must be {expected}, is {found}")
        if np.any(tensor[~mask]):
            raise ValueError(f"{name}: a weight that the mask removes is not zero")
    return _Entry(name, tensor.dtype.name, tensor.shape, mask is not None)


def _flatten(
    entries: Sequence[_Entry], tensors: Mapping[str, Array], masks: Mapping[str, Mask]
) -> dict[str, Array]:
    values: dict[str, list[Array]] = {}
    for entry in entries:
        tensor = tensors[entry.name]
        kept = tensor[masks[entry.name]] if entry.masked else tensor.ravel()
        values.setdefault(entry.key, []).append(kept.astype(entry.dtype, copy=False))
    nothing = np.zeros(0, np.bool_)
    every_mask = [masks[entry.name].ravel() for entry in entries if entry.masked]
    flat = {key: np.concatenate(parts) for key, parts in values.items()}
    return flat | {_MASKS: np.packbits(np.concatenate([nothing, *every_mask]))}


def _unpack_masks(entries: Sequence[_Entry], packed: Array) -> dict[str, Mask]:
    masked = [entry for entry in entries if entry.masked]
    total = sum(entry.size for entry in masked)
    if packed.size != math.ceil(total / 8):
        raise ValueError(f"{packed.size} bytes of masks for {total} weights")
    bits = np.unpackbits(packed, count=total).astype(np.bool_)
    parts = _split(bits, [entry.size for entry in masked])
    return {e.name: part.reshape(e.shape) for e, part in zip(masked, parts, strict=True)}


def _unflatten(
    entries: Sequence[_Entry], masks: Mapping[str, Mask], flat: Mapping[str, Array]
) -> dict[str, Array]:
    tensors: dict[str, Array] = {entry.name: np.zeros(0) for entry in entries}
    for dtype in dict.fromkeys(entry.dtype for entry in entries):
        group = [entry for entry in entries if entry.dtype == dtype]
        values = flat[group[0].key]
        stored = [int(masks[e.name].sum()) if e.masked else e.size for e in group]
        if (values.dtype.name, values.size) != (dtype, sum(stored)):
            found, expected = f"{values.size} values of {values.dtype}", f"{sum(stored)} of {dtype}"
            raise ValueError(f"it holds {found}, but its shapes and masks require {expected}")
        for entry, part in zip(group, _split(values, stored), strict=True):
            tensors[entry.name] = _dense(part, entry.shape, masks.get(entry.name))
    return tensors


def _dense(values: Array, shape: Sequence[int], mask: Mask | None) -> Array:
    if mask is None:
        return values.reshape(shape).copy()
    dense = np.zeros(shape, values.dtype)
    dense[mask] = values
    return dense


def _split(values: Array, sizes: Sequence[int]) -> Iterator[Array]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size


def _pack_table(entries: Sequence[_Entry]) -> str:
    text = json.dumps(entries, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpack_table(packed: str) -> list[_Entry]:
    compressed = base64.b64decode(packed, validate=True)
    text = zlib.decompressobj().decompress(compressed, _LARGEST_TABLE)
    entries = [_Entry(*row) for row in json.loads(text)]
    for name, dtype, shape, masked in entries:
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no tensor's name")
        if not isinstance(masked, bool):
            raise ValueError(f"{name}: {masked!r} is not true or false")
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise ValueError(f"{name}: {dtype!r} is none of {', '.join(sorted(_DTYPES))}")
        if any(not isinstance(n, int) or n < 0 for n in shape):
            raise ValueError("a shape contains something other than whole numbers of at least 0")
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("two of its tensors have the same name")
    return entries


def _checksum(document: Mapping[str, Any], flat: Mapping[str, Array]) -> str:
    """Return the hexadecimal SHA-256 of the document without its checksum and of the payload."""
    digest = hashlib.sha256(json.dumps(document).encode())
    for key in sorted(flat):
        digest.update(f"{key} {flat[key].dtype.name} {flat[key].size} ".encode())
        digest.update(np.ascontiguousarray(flat[key]).data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    check_readable(path)
    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(FORMAT, "null")
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT}")
        if document.get("version") != VERSION:
            raise ValueError(f"its version is {document.get('version')}, not {VERSION}")
        if json.dumps(document) != text:
            raise ValueError("it was altered: its metadata differs from what was written")
        return document, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
