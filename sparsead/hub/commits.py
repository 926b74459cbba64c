"""The commit that a branch or a tag points to: asked of the hub once, else from its cache."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from sparsead.hub.failures import NOT_ASKED, TOO_SLOW, Failure, build_source_error, describe
from sparsead.hub.quiet import quiet_clients, quiet_loggers
from sparsead.hub.sources import Source, is_commit

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0)
"""Seconds before the hub is asked again after it failed or had too many requests."""


@dataclass(frozen=True)
class Resolved:
    """The commit of a source, and why the hub could not be asked for it.

    Attributes:
        commit: None if it is not known.
        failure: None if the hub answered, or did not have to.
    """

    commit: str | None
    failure: Failure | None


def find_commit(source: Source) -> str:
    """Return the commit that a source's revision points to.

    Raises:
        SourceError: the hub does not say, and its cache does not either.
    """
    resolved = resolve(source)
    if resolved.commit is None:
        raise build_source_error(source, resolved.failure or NOT_ASKED)
    return resolved.commit


def resolve(source: Source) -> Resolved:
    """Return the commit that a source's revision points to.

    A process asks once for each branch or tag, so that all its runs read the same commit. Where the
    hub does not answer, it is the commit that its cache had for that branch or tag before. For a
    commit it is not asked, so that only the name is looked at.
    """
    if not is_commit(source.revision):
        return _resolve(source)
    refused = _refuse_name(source)
    return Resolved(source.revision if refused is None else None, refused)


def _refuse_name(source: Source) -> Failure | None:
    """Return why a name can be that of nothing on the hub; None if it can."""
    try:
        validate_repo_id(source.name)
    except HFValidationError as error:
        return describe(error, source)
    return None


@cache
def _resolve(source: Source) -> Resolved:
    asked = _ask(source)
    if isinstance(asked, Failure):
        return Resolved(cached_commit(source), asked)
    _remember(source, asked)
    return Resolved(asked, None)


@cache
def tell_cached(source: Source, reason: str, commit: str) -> None:
    """Say once in a process that the hub fails, and that a commit of its cache is used."""
    log.warning("%s: %s; the cache's commit %s is used", source, reason, commit)


def forget_commits() -> None:
    """Ask the hub again for every branch and tag."""
    _resolve.cache_clear()
    tell_cached.cache_clear()


def _ask(source: Source) -> str | Failure:
    if constants.HF_HUB_OFFLINE:
        return NOT_ASKED
    for pause in PAUSES:
        answer = _ask_once(source)
        if not isinstance(answer, HfHubHTTPError) or not _is_passing(answer):
            break
        time.sleep(pause)
    else:
        answer = _ask_once(source)
    if isinstance(answer, BaseException):
        return describe(answer, source)
    return answer or Failure(
        TOO_SLOW.format(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT),
    )


def _is_passing(error: HfHubHTTPError) -> bool:
    return error.response.status_code == 429 or error.response.status_code >= 500


def _ask_once(source: Source) -> str | Exception | None:
    """Return the commit or the error; None if there was no answer in time.

    The request runs in its own thread, because DNS resolution has no timeout of its own.
    """
    seconds = float(constants.HF_HUB_ETAG_TIMEOUT)
    answers: list[str | Exception] = []

    def ask() -> None:
        try:
            with quiet_loggers():  # an answer that comes too late is not waited for
                info = HfApi().repo_info(
                    source.name, repo_type=source.kind, revision=source.revision, timeout=seconds
                )
            answers.append(str(info.sha))
        except Exception as error:
            answers.append(error)

    with quiet_clients():
        thread = Thread(target=ask, daemon=True)
        thread.start()
        thread.join(seconds)
    return answers[0] if answers else None


def _reference(source: Source) -> Path:
    """Return the file in which the hub's cache keeps the commit of a branch or tag."""
    folder = repo_folder_name(repo_id=source.name, repo_type=source.kind)
    return Path(constants.HF_HUB_CACHE) / folder / "refs" / source.revision


def cached_commit(source: Source) -> str | None:
    """Return the commit that the hub's cache has for a source's revision; the hub is not asked."""
    if is_commit(source.revision):
        return None if _refuse_name(source) else source.revision
    try:
        commit = _reference(source).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None


def _remember(source: Source, commit: str) -> None:
    """Keep the commit in the hub's cache, as its own clients do, for when the hub is away."""
    if cached_commit(source) == commit:
        return
    file = _reference(source)
    beside = file.with_name(f"{file.name}.{commit[:8]}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(commit, "utf-8")
        beside.replace(file)
    except OSError:
        log.debug("%s: cannot be written", file, exc_info=True)
