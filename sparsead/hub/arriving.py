"""How many bytes of a download have come, as the files in the hub's cache show it.

The hub's clients have several ways to fetch a file, each with its own bar. All of them write into
one folder, so that its files are looked at instead.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from threading import Event, Thread

from huggingface_hub import HfApi, RepoFile, constants
from huggingface_hub.file_download import repo_folder_name

from sparsead.hub.quiet import quiet_clients, quiet_loggers
from sparsead.hub.sources import Source
from sparsead.progress import Stage, stage

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often the files are looked at; what comes faster shows no bytes."""
_PARTIAL = ".incomplete"


@contextmanager
def show_download(source: Source, commit: str, patterns: Sequence[str] | None) -> Iterator[Stage]:
    """Show a download for the duration of the block, as the stage that is yielded.

    Args:
        source: what is fetched.
        commit: the commit of which it is fetched.
        patterns: the names of the files that are fetched, so that it is known how many bytes will
            come; None if they are not known.
    """
    before = {file.name: size for file, size in _list_files(source)}
    with stage(f"loading {source}", in_bytes=True) as shown, quiet_clients():
        ended = Event()

        def watch() -> None:
            if ended.wait(LOOK_SECONDS):
                return
            with quiet_loggers():  # the block may have ended before the answer comes
                wanted = None if patterns is None else _list_wanted(source, commit, patterns)
            total = None if wanted is None else sum(wanted.values())
            while not ended.wait(LOOK_SECONDS):
                shown.show(_count(source, wanted, before), total)

        Thread(target=watch, daemon=True).start()
        try:
            yield shown
        finally:
            ended.set()


def _count(source: Source, wanted: Collection[str] | None, before: Mapping[str, int]) -> int:
    """Return the bytes that have come.

    Args:
        source: what is fetched.
        wanted: the hashes of the wanted files, by which they are named; None if they are not known.
        before: the sizes of the files that were there before. Parts of files that
            an earlier download left are not counted.
    """
    if wanted is None:
        return sum(size for _, size in _list_files(source)) - sum(before.values())
    return sum(
        size
        for file, size in _list_files(source)
        if file.name.partition(".")[0] in wanted
        and not (file.name in before and file.name.endswith(_PARTIAL))
    )


def _list_wanted(source: Source, commit: str, patterns: Sequence[str]) -> dict[str, int] | None:
    """Return the size of each wanted file by its hash; None if the hub does not say it."""
    try:
        listed = HfApi().list_repo_tree(
            source.name, recursive=True, revision=commit, repo_type=source.kind
        )
        files = [entry for entry in listed if isinstance(entry, RepoFile)]
    except Exception:  # the download itself says what is wrong
        log.debug("%s: its files cannot be listed", source, exc_info=True)
        return None
    chosen = [f for f in files if any(fnmatch(f.path, pattern) for pattern in patterns)]
    return {file.lfs.sha256 if file.lfs else file.blob_id: file.size for file in chosen}


def _list_files(source: Source) -> Iterator[tuple[Path, int]]:
    """Yield the files of a source in the hub's cache, whole or not, with their sizes."""
    folder = repo_folder_name(repo_id=source.name, repo_type=source.kind)
    blobs = Path(constants.HF_HUB_CACHE) / folder / "blobs"
    with suppress(OSError):  # the folder is not there yet
        for file in blobs.iterdir():
            with suppress(OSError):  # a part has become a whole file meanwhile
                yield file, file.stat().st_size
