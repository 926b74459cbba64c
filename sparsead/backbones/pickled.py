"""Weights of the hub that are pickled: read as tensors alone, and converted once to safetensors."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from sparsead.backbones.tensor_files import read_pickled
from sparsead.errors import SourceError
from sparsead.errors.translation import translate_errors
from sparsead.runs.files import file_digest
from sparsead.tasks.cache import CACHE_VARIABLE, CHECKSUMS_FILE, cache_folder, list_checksums

log = logging.getLogger(__name__)

_CONVERTED = "model.safetensors"
_INDEX = "pytorch_model.bin.index.json"
_WHOLE = "pytorch_model.bin"
_OTHERS = ("*.json", "*.txt", "*.model")


def convert(folder: Path, name: str) -> Path:
    """Return a folder with the same files and the weights as safetensors; it is made once.

    Args:
        folder: the model's files, with `pytorch_model.bin`, or its parts and their index.
        name: of the model, for messages.

    Raises:
        SourceError: the file contains anything but tensors, or the cache cannot be written.
    """
    files = list(_pickled_files(folder))
    target = _target(folder, files)

    def write(into: Path) -> None:
        log.info(
            "%s: has no safetensors; its pickled weights are read as tensors alone, and converted",
            name,
        )
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= _read_tensors(file)
        save_file(tensors, into / _CONVERTED, metadata={"format": "pt"})

    return _make_once(target, folder, write)


def combine(folder: Path, weights: Sequence[Path]) -> Path:
    """Return a folder with the files of `folder` and these weights; it is made once.

    Raises:
        SourceError: the cache cannot be written.
    """

    def write(into: Path) -> None:
        for file in weights:
            (into / file.name).symlink_to(file.resolve())

    return _make_once(_target(folder, weights), folder, write)


def _target(folder: Path, weights: Sequence[Path]) -> Path:
    """Return the folder in the cache that is named after the contents of all files."""
    parts = [f"{file.name} {file_digest(file)}" for file in [*_others(folder), *weights]]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return cache_folder() / "weights" / digest[:32]


def _others(folder: Path) -> list[Path]:
    return sorted(
        file for pattern in _OTHERS for file in folder.glob(pattern) if file.name != _INDEX
    )


def _make_once(target: Path, folder: Path, write: Callable[[Path], None]) -> Path:
    """Return `target`; if it is not there yet, write it beside and rename it.

    Args:
        target: the folder to make.
        folder: the model's files, of which all but the weights are copied.
        write: writes the weights into the folder that it is given.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not _is_whole(target):
                _replace_folder(target, folder, write)
    except OSError as error:
        raise SourceError(
            f"{target.parent}: cannot be written ({error}); choose another folder with "
            f"{CACHE_VARIABLE}=FOLDER"
        ) from error
    return target


def _replace_folder(target: Path, folder: Path, write: Callable[[Path], None]) -> None:
    """Write the files beside `target`, and rename their folder to it."""
    shutil.rmtree(target, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for file in _others(folder):
            shutil.copyfile(file, beside / file.name)
        write(beside)
        (beside / CHECKSUMS_FILE).write_text(json.dumps(list_checksums(beside)), "utf-8")
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder of this cache is there, with unaltered files."""
    try:
        known = json.loads((folder / CHECKSUMS_FILE).read_text("utf-8"))
        return bool(known == list_checksums(folder))
    except (OSError, ValueError, RecursionError):
        return False


def _pickled_files(folder: Path) -> Iterator[Path]:
    """Yield the files of pickled weights that belong together.

    Raises:
        SourceError: the index of the parts is malformed.
    """
    index = folder / _INDEX
    if not index.is_file():
        yield folder / _WHOLE
        return
    try:
        names = {str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SourceError(f"{index}: is not an index of weights") from error
    for name in sorted(names):
        file = folder / name
        if file.name != name or not file.is_file():
            raise SourceError(f"{index}: names the file {name!r}, which is not beside it")
        yield file


def _read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a pickled file, each with memory of its own; it runs no code."""
    with translate_errors(lambda why: SourceError(f"{file}: cannot be read as weights; {why}")):
        return {name: t.clone().contiguous() for name, t in read_pickled(file).items()}
