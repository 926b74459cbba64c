"""The rows of a data set on the hub, at one commit; datasets keeps them once they were read."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
from datasets import DatasetDict, load_dataset
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules.cache.cache import Cache

from sparsead.errors import SourceError
from sparsead.hub.commits import find_commit, resolve
from sparsead.hub.failures import describe, refuse
from sparsead.hub.quiet import quiet_clients
from sparsead.hub.sources import Source
from sparsead.progress import stage

log = logging.getLogger(__name__)


def load_rows(source: Source) -> DatasetDict:
    """Return all splits of a data set.

    Args:
        source: the data set; without a configuration it must have only one.

    Raises:
        SourceError: the rows cannot be had, or those in the cache are damaged.
    """
    commit = find_commit(source)
    failure = resolve(source).failure
    folder = _cached(source, commit)
    if folder is not None:
        if failure is not None and failure.asked:
            log.warning("%s: %s; the cache's commit %s is used", source, failure.reason, commit)
        return _read(source, folder)
    if failure is not None:
        raise refuse(source, failure)
    return _download(source, commit)


def is_cached(source: Source, commit: str) -> bool:
    """Tell whether the cache holds the rows at a commit."""
    return _cached(source, commit) is not None


def _download(source: Source, commit: str) -> DatasetDict:
    try:
        with quiet_clients(), stage(f"loading {source}"):
            splits = load_dataset(source.name, source.config, revision=commit)
    except Exception as error:  # the libraries raise errors of several packages
        raise _refuse_config(source, error) or refuse(source, describe(error, source)) from error
    if _cached(source, commit) is None:  # another commit's rows, for want of these
        raise SourceError(
            f"{source}: commit {commit} could not be read from the hub; run the command again"
        )
    return DatasetDict(splits)


def _refuse_config(source: Source, error: Exception) -> SourceError | None:
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
        for folder in root.glob(f"{source.config or '*'}/*/{commit}")
        if (folder / "dataset_info.json").is_file()
    ]
    return found[0] if len(found) == 1 else None


def _read(source: Source, folder: Path) -> DatasetDict:
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
        raise SourceError(
            f"{source}: the rows in the cache are damaged ({reason}); delete {folder}"
        ) from error
