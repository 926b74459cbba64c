"""The files of a model on the hub, at one commit: all of them, undamaged, or an error."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from huggingface_hub import HfApi, get_repo_discussions, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from sparsead.hub.arriving import show_download
from sparsead.hub.commits import Resolved, find_commit, resolve, tell_cached
from sparsead.hub.failures import Failure, build_source_error, describe
from sparsead.hub.quiet import quiet_clients
from sparsead.hub.sources import Source

log = logging.getLogger(__name__)

WEIGHTS = ("model*.safetensors*",)
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA256 = 64
_OTHERS = ("*.json", "*.txt", "*.model")
_CONVERSION_AUTHOR = "SFconvertbot"
_CONVERSION_TITLE = "Adding `safetensors` variant of this model"


def fetch_model(source: Source, weights: Sequence[str] = WEIGHTS) -> Path:
    """Return the folder of a model's files, from the hub's cache or else from the hub.

    Args:
        source: the model.
        weights: patterns of the names of the weights' files; there may be none.

    Raises:
        SourceError: the files cannot be obtained, or those in the cache are damaged.
    """
    commit = find_commit(source)
    resolved = resolve(source)
    patterns = [*_OTHERS, *weights]
    folder = _cached(source, commit, patterns)
    if folder is None:
        folder = _download(source, commit, patterns, resolved.failure)
    elif resolved.failure is not None and resolved.failure.asked:
        tell_cached(source, resolved.failure.reason, commit)
    damaged = [file for file in sorted(folder.iterdir()) if not _is_whole(file.resolve())]
    if damaged:
        _remove_damaged(source, damaged, resolved)
        folder = _download(source, commit, patterns, resolved.failure)
    return folder


def is_cached(source: Source, commit: str) -> bool:
    """Tell whether the hub's cache holds the model at a commit, with weights."""
    folder = _cached(source, commit, [*_OTHERS, *WEIGHTS])
    return folder is not None and bool(find_weights(folder, (*WEIGHTS, *PICKLED_WEIGHTS)))


def find_weights(folder: Path, patterns: Sequence[str] = WEIGHTS) -> list[Path]:
    """Return the files of weights in a folder, by the patterns of their names."""
    return sorted({file for pattern in patterns for file in folder.glob(pattern)})


def find_conversion(source: Source) -> str | None:
    """Return the branch of the pull request in which the hub's bot put a model's safetensors.

    As transformers does, this trusts only a pull request of the bot itself that is one commit after
    the main branch. None if there is none, or the hub cannot be asked.
    """
    if resolve(source).failure is not None:
        return None
    try:
        with quiet_clients():
            return _search_conversion(source.name)
    except Exception:  # a repository may have no discussions; its other weights are read then
        log.debug("%s: its pull requests cannot be read", source, exc_info=True)
    return None


def _search_conversion(name: str) -> str | None:
    """Return the branch of the bot's pull request that is one commit after the main branch."""
    api = HfApi()
    main = api.list_repo_commits(name)[0].commit_id
    for pull in get_repo_discussions(name, author=_CONVERSION_AUTHOR):
        branch, found = pull.git_reference, (pull.status, pull.title, pull.author)
        if branch is None or found != ("open", _CONVERSION_TITLE, _CONVERSION_AUTHOR):
            continue
        commits = api.list_repo_commits(name, revision=branch)
        if [commit.commit_id for commit in commits[1:2]] == [main]:
            return branch
    return None


def _cached(source: Source, commit: str, patterns: Sequence[str]) -> Path | None:
    """Return the folder in the hub's cache; None unless all files of the patterns are there."""
    try:
        with quiet_clients():
            found = snapshot_download(
                source.name, revision=commit, allow_patterns=[*patterns], local_files_only=True
            )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    return folder if (folder / "config.json").exists() else None


def _download(
    source: Source, commit: str, patterns: Sequence[str], failure: Failure | None
) -> Path:
    if failure is not None:
        raise build_source_error(source, failure, "is not, or not as a whole, in the cache")
    try:
        with show_download(source, commit, patterns):
            return Path(snapshot_download(source.name, revision=commit, allow_patterns=[*patterns]))
    except Exception as error:  # the clients raise errors of several packages
        raise build_source_error(source, describe(error, source)) from error


def _remove_damaged(source: Source, damaged: Sequence[Path], resolved: Resolved) -> None:
    names = ", ".join(file.name for file in damaged)
    log.warning("%s: damaged in the hub's cache, and fetched again: %s", source, names)
    if resolved.failure is not None:
        raise build_source_error(source, resolved.failure, f"is damaged in the cache ({names})")
    for file in damaged:
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _is_whole(file: Path) -> bool:
    """Tell whether a file of the cache has the hash by which the hub's clients have named it."""
    if not file.is_file():
        return file.is_dir()
    status = file.stat()
    return _has_its_hash(file, status.st_mtime_ns, status.st_size)


@cache
def _has_its_hash(file: Path, _modified: int, size: int) -> bool:
    if _HASH.fullmatch(file.name) is None:
        return True  # a cache without symbolic links, in which files have their usual names
    with file.open("rb") as stream:
        if len(file.name) == _SHA256:
            digest = hashlib.file_digest(stream, "sha256")
        else:  # as git names a file
            digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            digest.update(stream.read())
    return digest.hexdigest() == file.name
