"""The cache of encoded splits on disk, shared by all runs with the same data and tokenizer."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import tokenizers
import transformers
from datasets import ClassLabel, Dataset, DatasetDict, Value, load_from_disk
from filelock import FileLock
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from sparsead.errors import ConfigError, DataError, SourceError
from sparsead.errors.display import pluralize
from sparsead.progress import stage
from sparsead.tasks.checked import check_encoded, check_loaded
from sparsead.tasks.contract import Task
from sparsead.tasks.splits import split_rows

log = logging.getLogger(__name__)

CACHE_VARIABLE = "SPARSEAD_CACHE"
DESCRIPTION_FILE = "report.json"
CHECKSUMS_FILE = "checksums.json"
_FORMAT = 2
"""Version of the cache; it is increased when the files in its folders change."""
WHOLE_LENGTH = "whole_length"

# Options that say where the rows come from; the key contains the rows themselves instead.
_PLACES = ("path", "files", "train", "validation", "limit", "revision")


@contextmanager
def without_bars() -> Iterator[None]:
    """Show no progress bars of datasets for the duration of the block, a notebook's included."""
    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


@without_bars()
def encode_once(
    task: Task, tokenizer: PreTrainedTokenizerBase, selection: float = 0.0
) -> tuple[DatasetDict, dict[str, Any]]:
    """Return the task's encoded splits and their description, tokenising at most once.

    The splits are stored in a folder that is named after a hash of the rows, the task's options and
    code, and the tokenizer; if any of these changes, another folder is used. If several processes
    need the same splits at once, one tokenises and the others wait. The folder is in
    SPARSEAD_CACHE, else in `sparsead` below XDG_CACHE_HOME, else in ~/.cache/sparsead. It can be
    deleted at any time; its checksums are verified, and what was altered is tokenised again.

    Args:
        task: the task, whose `load` and `encode` are called.
        tokenizer: the backbone's tokenizer.
        selection: share of train to hold out as `validation`; the task's own validation split then
            becomes `test`.

    Returns:
        The splits, and a description of each: the number of examples, their lengths in tokens, the
        counts of the boolean columns and of truncated examples, the number of examples of each
        class, or mean and standard deviation of the numbers to predict, and the SHA-256 of the rows
        before they were tokenised.

    Raises:
        SourceError: the cache cannot be written or read.
    """
    rows = hold_out(check_loaded(task.load()), selection)
    digests = {split: _digest_rows(table) for split, table in rows.items()}
    folder = cache_folder() / "encoded" / _key(task, digests, tokenizer)
    start = time.perf_counter()
    lock = FileLock(f"{folder}.lock")
    with _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        fresh = not _is_whole(folder)
        if fresh:
            with stage("tokenising"):  # not in the block below: its errors are not of the cache
                encoded = check_encoded(
                    task.encode(rows, tokenizer), rows, _highest_token(tokenizer)
                )
                described = _describe_splits(encoded)
            with _writing(folder):
                _write(folder, encoded, described)
        splits, described = _read(folder)
    finally:
        lock.release()
    done = "tokenised" if fresh else "tokenised before, read from the cache"
    log.debug("%s in %.1f s", done, time.perf_counter() - start)
    for split, values in described.items():
        log.debug("%s: %s", split, _format_description(values))
    return splits, {
        split: values | {"sha256": digests[split]} for split, values in described.items()
    }


def _highest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the highest number of a token; there may be gaps below it."""
    return max(len(tokenizer) - 1, *tokenizer.get_vocab().values())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn errors of writing to the cache into one that says how to choose another folder."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder.parent}: cannot be written ({error}); choose another folder with "
            f"{CACHE_VARIABLE}=FOLDER"
        ) from error


def _is_whole(folder: Path) -> bool:
    """Tell whether the cached splits are there unaltered; altered ones are removed."""
    if not folder.exists():
        return False
    try:
        altered = json.loads((folder / CHECKSUMS_FILE).read_text("utf-8")) != list_checksums(folder)
    except (OSError, ValueError, RecursionError):
        altered = True
    if altered:
        log.warning("%s: was altered (its checksums do not match); it is tokenised anew", folder)
        with _writing(folder):
            shutil.rmtree(folder)
    return not altered


def list_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below the folder, except CHECKSUMS_FILE."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): _digest_of(path)
        for path in files
        if path.name != CHECKSUMS_FILE
    }


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(folder: Path) -> tuple[DatasetDict, dict[str, Any]]:
    try:
        described = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))
        return load_from_disk(str(folder)), described
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder}: cannot be read ({error}); delete it") from error


def cache_folder() -> Path:
    """Return the folder in which encoded splits are stored."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(home) / "sparsead").expanduser()


def hold_out(rows: DatasetDict, selection: float) -> DatasetDict:
    """Hold out a share of `train` as `validation`; the task's own validation becomes `test`.

    Args:
        rows: the splits train, validation and any others.
        selection: the share, see `split_rows`; 0 returns `rows` unchanged.

    Raises:
        ConfigError: `train` has only one example, or there already is a split `test`.
    """
    if not selection:
        return rows
    given = f"protocol.selection={selection:g}"
    if "test" in rows:
        raise ConfigError(f"{given}: scores validation, not test; take test out of the task")
    if len(rows["train"]) < 2:
        raise ConfigError(f"{given}: one training example cannot be split")
    train, chosen_on = split_rows(rows["train"], selection)
    parts = {"train": train, "validation": chosen_on, "test": rows["validation"]}
    return DatasetDict({**rows, **parts})


def count_cut_examples(rows: Dataset) -> int:
    """Return the number of encoded rows that were truncated to the task's longest length."""
    kept, whole = _lengths(rows)
    return int((whole > kept).sum())


def _lengths(rows: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of tokens of each example after and before truncation."""
    kept = np.array([len(ids) for ids in rows["input_ids"]])
    return kept, np.array(rows[WHOLE_LENGTH][:]) if WHOLE_LENGTH in rows.column_names else kept


def _describe_splits(encoded: DatasetDict) -> dict[str, Any]:
    """Describe each split in numbers.

    Raises:
        DataError: a split has no examples.
    """
    for split, rows in encoded.items():
        if not len(rows):
            raise DataError(f"task: {split}: has no examples")
    return {split: _describe_split(rows) for split, rows in encoded.items()}


def _write(folder: Path, splits: DatasetDict, described: Mapping[str, Any]) -> None:
    """Write to a temporary folder and rename it, so that `folder` is never incomplete."""
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        kept = {split: _drop_described(rows) for split, rows in splits.items()}
        DatasetDict(kept).save_to_disk(str(beside))
        (beside / DESCRIPTION_FILE).write_text(json.dumps(described), "utf-8")
        (beside / CHECKSUMS_FILE).write_text(json.dumps(list_checksums(beside)), "utf-8")
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _describe_split(rows: Dataset) -> dict[str, Any]:
    kept, whole = _lengths(rows)
    description: dict[str, Any] = {
        "examples": len(rows),
        "tokens": {
            "mean": float(whole.mean()),
            "median": float(np.median(whole)),
            "max": int(whole.max()),
            "longest_kept": int(kept.max()),
        },
        "counts": {name: int(sum(rows[name])) for name in _flags(rows)},
    }
    if WHOLE_LENGTH in rows.column_names:
        description["counts"]["cut"] = count_cut_examples(rows)
    labels = rows.features.get("labels")
    if isinstance(labels, ClassLabel):
        counts = np.bincount(rows["labels"][:], minlength=labels.num_classes)
        description["classes"] = dict(zip(labels.names, counts.tolist(), strict=True))
    elif getattr(labels, "dtype", "").startswith("float"):
        numbers = np.array(rows["labels"][:], dtype=np.float64)
        description["numbers"] = {"mean": float(numbers.mean()), "deviation": float(numbers.std())}
    return description


def _flags(rows: Dataset) -> list[str]:
    return [name for name, kind in rows.features.items() if kind == Value("bool")]


def _drop_described(rows: Dataset) -> Dataset:
    described = {WHOLE_LENGTH, *_flags(rows)}
    return rows.remove_columns([name for name in rows.column_names if name in described])


def _format_description(values: dict[str, Any]) -> str:
    tokens = values["tokens"]
    parts = [
        pluralize(values["examples"], "example"),
        f"tokens mean {tokens['mean']:.0f}, median {tokens['median']:.0f}, max {tokens['max']}, "
        f"longest kept {tokens['longest_kept']}",
    ]
    parts += [
        f"{count or 'none'} {name.replace('_', ' ')}" for name, count in values["counts"].items()
    ]
    parts += [
        f"{name} {100 * count / values['examples']:.1f} %"
        for name, count in values.get("classes", {}).items()
    ]
    if "numbers" in values:
        parts.append("labels {mean:.2f} ± {deviation:.2f}".format_map(values["numbers"]))
    return "; ".join(parts)


def _key(task: Task, digests: Mapping[str, str], tokenizer: PreTrainedTokenizerBase) -> str:
    digest = hashlib.sha256()
    options = {name: value for name, value in vars(task).items() if name not in _PLACES}
    public = _name_keys({n: value for n, value in options.items() if not n.startswith("_")})
    versions = (_FORMAT, transformers.__version__, tokenizers.__version__)
    digest.update(json.dumps([versions, public, digests], sort_keys=True, default=str).encode())
    for part in (*_code(task), *_tokenizer_files(tokenizer)):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def _name_keys(value: Any) -> Any:
    """Return a value whose mappings have texts as keys: JSON cannot sort keys of several types."""
    if isinstance(value, Mapping):
        return {str(key): _name_keys(each) for key, each in value.items()}
    return [_name_keys(each) for each in value] if isinstance(value, list | tuple) else value


def _code(task: Task) -> Iterator[bytes]:
    """Yield the source of the task's classes, so that an edited `encode` is noticed.

    The modules beside a class's own in its package count too: `encode` may call their functions.
    """
    sources: set[Path] = set()
    for ancestor in type(task).__mro__[:-1]:
        module = inspect.getmodule(ancestor)
        yield f"{ancestor.__module__}.{ancestor.__qualname__}".encode()
        if module is not None and getattr(module, "__file__", None):
            file = Path(str(module.__file__))
            sources |= {file, *(file.parent.glob("*.py") if module.__package__ else ())}
    for source in sorted(sources):
        yield source.name.encode()
        yield source.read_bytes()


def _tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> Iterator[bytes]:
    """Yield the tokenizer's saved files, without its last padding and truncation settings."""
    clean = copy.deepcopy(tokenizer)
    if clean.is_fast:
        clean.backend_tokenizer.no_truncation()
        clean.backend_tokenizer.no_padding()
    with tempfile.TemporaryDirectory() as folder:
        clean.save_pretrained(folder)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                yield file.name.encode()
                yield file.read_bytes()


def _digest_rows(table: Dataset) -> str:
    """Return the SHA-256 of the names, types and values of a split's columns."""
    digest = hashlib.sha256(str(table.features).encode())
    for batch in table.with_format("arrow").iter(batch_size=10_000):
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_table(batch.combine_chunks())
        digest.update(sink.getvalue())
    return digest.hexdigest()
