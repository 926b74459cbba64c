"""Why the hub did not give what was asked for, in one line, and what the user can do."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sparsead.errors import SourceError
from sparsead.hub.sources import Source

_TOKEN = "set HF_TOKEN to a token that may read it"
_BROKEN_OFF = "run the command again: the files that are whole are kept"


@dataclass(frozen=True)
class Failure:
    """Why the hub did not give something.

    Attributes:
        reason: what happened, such as `https://huggingface.co cannot be reached`.
        advice: what the user can do; empty for taking another source, which needs no network.
        asked: whether the hub was asked; it is not in the offline mode that the user chose.
    """

    reason: str
    advice: str = ""
    asked: bool = True


NOT_ASKED = Failure("HF_HUB_OFFLINE is set, so that the hub is not asked", asked=False)
TOO_SLOW = "{} did not answer within {} s (HF_HUB_ETAG_TIMEOUT=60 waits longer)"


def build_source_error(
    source: Source, failure: Failure, cached: str = "is not in the cache"
) -> SourceError:
    """Return the error that a source cannot be obtained.

    Args:
        source: the model or data set.
        failure: why the hub does not give it.
        cached: what the cache lacks of it.
    """
    if failure.advice:
        return SourceError(f"{source}: {failure.reason}; {failure.advice}")
    otherwise = f"take the embedded {source.embedded}, which needs no network"
    if source.install is not None:
        otherwise = f"install its files with {source.install}"
    return SourceError(
        f"{source}: {cached}, and {failure.reason}; give a folder with {source.group}.path=FOLDER, "
        f"or {otherwise}"
    )


def describe(error: BaseException, source: Source) -> Failure:
    """Return why a call of the hub's libraries failed.

    Args:
        error: what the call raised.
        source: the model or data set that was asked for.
    """
    known = describe_known(error, source)
    if known is not None:
        return known
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Failure(f"the hub's files cannot be used ({type(error).__name__}: {reason})")


def describe_known(error: BaseException, source: Source) -> Failure | None:
    """Return why a call of the hub's libraries failed; None if the error is not known.

    The libraries' network errors are told by the names of their classes, because huggingface_hub
    changed the package that they come from.
    """
    for each in _chain(error):
        found = _describe_answer(each, source) or _describe_machine(each)
        if found is not None:
            return found
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return the error and those that it was raised from, the first cause first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found[::-1]


def _describe_answer(error: BaseException, source: Source) -> Failure | None:
    """Describe what the hub answered; None if the error is none of the hub's answers."""
    page = f"{constants.ENDPOINT}/{'datasets/' if source.kind == 'dataset' else ''}{source.name}"
    kind = "data set" if source.kind == "dataset" else "model"
    match error:
        case HFValidationError():
            return Failure(f"is not the name of a {kind} on the hub", "it has the form owner/name")
        case GatedRepoError():
            return Failure(
                f"is gated{_status(error)}: the hub gives it only to accounts that were granted "
                "access",
                f"ask for it at {page} and set HF_TOKEN to a token of that account",
            )
        case RevisionNotFoundError():
            return Failure(
                f"has no revision {source.revision} on the hub",
                f"{source.group}.revision takes a branch, a tag or a commit that {page} lists",
            )
        case DisabledRepoError():
            return Failure("was disabled by the hub")
        case RepositoryNotFoundError():
            return Failure(
                f"the hub has no {kind} of this name, or it is private{_status(error)}",
                f"check the name, or {_TOKEN}",
            )
        case HfHubHTTPError():
            return _describe_status(error)
    return None


def _describe_status(error: HfHubHTTPError) -> Failure | None:
    status = error.response.status_code
    if status in (401, 403):
        return Failure(
            f"the hub refuses access{_status(error)}: the token is not valid, or may not read it",
            _TOKEN,
        )
    if status == 429:
        return Failure(
            "the hub has had too many requests from here (429)",
            "try again in some minutes, or set HF_TOKEN: the limit of an account is higher",
        )
    if status >= 500:
        return Failure(f"{constants.ENDPOINT} fails ({status})")
    return None


def _describe_machine(error: BaseException) -> Failure | None:
    """Describe what failed on the way to the hub or on this machine; None if it is neither."""
    names = {each.__name__ for each in type(error).__mro__}
    if "ProxyError" in names:
        return Failure(f"{constants.ENDPOINT} cannot be reached{_through_proxy()} ({error})")
    if "OfflineModeIsEnabled" in names:
        return NOT_ASKED
    if "TimeoutException" in names:
        return Failure(TOO_SLOW.format(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT))
    if names & {"ConnectError", "UnsupportedProtocol"}:
        return Failure(f"{constants.ENDPOINT} cannot be reached{_through_proxy()}")
    if names & {"TransportError", "XetDownloadError"} or _is_short(error):
        return Failure(f"the download broke off ({type(error).__name__})", _BROKEN_OFF)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            f"the disk of the hub's cache is full ({constants.HF_HOME})",
            "free some space, or choose another folder with HF_HOME=FOLDER",
        )
    if isinstance(error, PermissionError):
        return Failure(
            f"the hub's cache cannot be written ({error})", "choose another with HF_HOME=FOLDER"
        )
    return None


def _through_proxy() -> str:
    """Name the proxy that is set for the hub, without a password that it may contain."""
    hub = urlsplit(constants.ENDPOINT)
    given = getproxies().get(hub.scheme)
    if not given or proxy_bypass(hub.hostname or ""):
        return ""
    variable = f"{hub.scheme.upper()}_PROXY"
    try:
        proxy = urlsplit(given)
        port = "" if proxy.port is None else f":{proxy.port}"
    except ValueError as error:  # a port above 65535, or half a pair of brackets
        return f" through the proxy of {variable}, which is no address ({error})"
    if proxy.hostname is None:  # of localhost:3128, the scheme would be localhost
        return f" through the proxy of {variable}, which has to begin with http://"
    return f" through the proxy {proxy.hostname}{port} ({variable})"


def _is_short(error: BaseException) -> bool:
    """Tell whether an error says that a file has fewer bytes than the hub had promised."""
    ours = isinstance(error, IncompleteSnapshotError | LocalEntryNotFoundError)
    return not ours and re.search(r"file should be of size", str(error)) is not None


def _status(error: HfHubHTTPError) -> str:
    return f" ({error.response.status_code})"
