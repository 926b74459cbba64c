"""The rows of a data set on the hub, at one commit; datasets keeps them once they were read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from glob import escape
from pathlib import Path

import datasets
from datasets import DatasetBuilder, DatasetDict, load_dataset_builder
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules.cache.cache import Cache

from sparsead.errors import SourceError
from sparsead.hub.arriving import show_download
from sparsead.hub.commits import find_commit, resolve, tell_cached
from sparsead.hub.failures import build_source_error, describe
from sparsead.hub.quiet import quiet_clients
from sparsead.hub.sources import Source
from sparsead.progress import stage

log = logging.getLogger(__name__)

_HUB_FILE = re.compile(r"hf://datasets/[^/]+(?:/[^/@]+)?@[^/]+/(?P<path>.+)")
"""The address of a file of a data set at a commit, as datasets has it."""
_CHECKSUMS_FILE = "sparsead.json"
"""In a folder of datasets' cache: the SHA-256 of its files, of which datasets itself keeps none."""
_CHOSEN_FILE = "sparsead.chosen"
"""In such a folder: its configuration is the one that is read where a run names none.

Only the hub knows which one it is. Without this file another one that was read before could be
taken for it, and the same command would read other rows on another machine.
"""
_DEFAULT = "default"
"""The name of a configuration that is read wherever none is named."""


def load_rows(source: Source) -> DatasetDict:
    """Return all splits of a data set.

    Args:
        source: the data set; without a configuration it must have only one, or a default one.

    Raises:
        SourceError: the rows cannot be obtained, or those in the cache are damaged.
    """
    commit = find_commit(source)
    failure = resolve(source).failure
    folder = _cached(source, commit)
    if folder is not None:
        if failure is not None and failure.asked:
            tell_cached(source, failure.reason, commit)
        return _read(source, folder)
    if failure is not None:
        raise build_source_error(source, failure)
    return _download(source, commit)


def is_cached(source: Source, commit: str) -> bool:
    """Tell whether the cache holds the rows at a commit."""
    return _cached(source, commit) is not None


def _download(source: Source, commit: str) -> DatasetDict:
    try:
        with stage(f"loading {source}"), quiet_clients():
            builder = load_dataset_builder(source.name, source.config, revision=commit)
        with show_download(source, commit, _list_paths(builder)):
            builder.download_and_prepare()
            splits = builder.as_dataset()
    except Exception as error:  # the libraries raise errors of several packages
        raise _build_config_error(source, error) or build_source_error(
            source, describe(error, source)
        ) from error
    folder = Path(builder.cache_dir)
    if isinstance(builder, Cache) or folder.name != commit:
        # The library has fallen back to rows of its cache: of another commit or configuration.
        raise SourceError(
            f"{source}: commit {commit} could not be read from the hub; run the command again"
        )
    _remember_checksums(folder)
    if source.config is None:
        _write(folder / _CHOSEN_FILE, "")
    return DatasetDict(splits)


def _list_paths(builder: DatasetBuilder) -> list[str] | None:
    """Return patterns of the paths in its repository of all files of a data set.

    None if there are files that are elsewhere: then it is not known how many bytes will come.
    """
    named = builder.config.data_files or {}
    files = [_HUB_FILE.fullmatch(file) for files in named.values() for file in files]
    return [escape(file["path"]) for file in files if file] if files and all(files) else None


def _build_config_error(source: Source, error: Exception) -> SourceError | None:
    """Return the error that a configuration has to be chosen, if that is what is wrong."""
    text = " ".join(str(error).split())
    for said in ("Config name is missing", "not found. Available: "):
        if said in text and isinstance(error, ValueError):
            names = text[text.index("[") + 1 : text.index("]")].replace("'", "")
            given = "" if source.config is None else f"has no configuration {source.config}; "
            return SourceError(f"{source.name}: {given}choose task.hub_config={names}")
    return None


def _cached(source: Source, commit: str) -> Path | None:
    """Return the folder in which datasets keeps the rows of a commit; None if there is not one."""
    *owner, name = source.name.split("/")
    repository = "___".join([*owner, camelcase_to_snakecase(name)])
    root = Path(datasets.config.HF_DATASETS_CACHE) / repository
    found = [
        folder
        for folder in root.glob(f"*/*/{commit}")
        if (folder / "dataset_info.json").is_file() and _is_asked_for(source, folder)
    ]
    return found[0] if len(found) == 1 else None


def _is_asked_for(source: Source, folder: Path) -> bool:
    """Tell whether cached rows are of the configuration that is named or, without one, read."""
    config = folder.parts[-3]
    if source.config is not None:
        return config == source.config
    return config == _DEFAULT or (folder / _CHOSEN_FILE).is_file()


def _remember_checksums(folder: Path) -> None:
    """Write the checksums of the rows' files; not those of what `Dataset.map` keeps beside them."""
    files = (file for file in folder.glob("*.arrow") if not file.name.startswith("cache-"))
    own = {file.name: _digest(file) for file in files}
    _write(folder / _CHECKSUMS_FILE, json.dumps(own))


def _write(file: Path, content: str) -> None:
    """Write a file into the cache, which works without it too, such as on a full disk."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(content, "utf-8")
        beside.replace(file)
    except OSError:
        log.debug("%s: cannot be written", beside, exc_info=True)


def _find_damaged(folder: Path) -> str | None:
    """Return a file that is not what it was when the rows came, and why; None if all are.

    Rows that came without their checksums get them now.
    """
    file = folder / _CHECKSUMS_FILE
    if not file.exists():
        _remember_checksums(folder)
        return None
    try:
        known: dict[str, str] = json.loads(file.read_text("utf-8"))
        changed = (name for name, digest in known.items() if _digest(folder / name) != digest)
        damaged = next(changed, None)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        return str(error)
    return damaged and f"{damaged} has changed since it came"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(source: Source, folder: Path) -> DatasetDict:
    damaged = _find_damaged(folder)
    if damaged is not None:
        raise _build_damage_error(source, folder, damaged)
    config, version, commit = folder.parts[-3:]
    try:
        with quiet_clients():
            cached = Cache(
                repo_id=source.name,
                dataset_name=source.name.rpartition("/")[2],
                config_name=config,
                version=version,
                hash=commit,
            )
            return DatasetDict(cached.as_dataset())
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _build_damage_error(source, folder, reason) from error


def _build_damage_error(source: Source, folder: Path, reason: str) -> SourceError:
    return SourceError(f"{source}: the rows in the cache are damaged ({reason}); delete {folder}")
