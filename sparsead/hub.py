"""Loading from the Hugging Face hub. A short probe comes first, so that being offline fails fast.

Offline, the libraries' own calls retry for up to 23 seconds before they fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from threading import Thread
from typing import TypeVar

import datasets
from huggingface_hub import constants, get_session

from sparsead.errors import SourceError
from sparsead.progress import stage

T = TypeVar("T")
log = logging.getLogger(__name__)

_ANSWER_SECONDS = 3.0


def fetch(name: str, load: Callable[[], T], folder_key: str, embedded: str) -> T:
    """Load a model or data set from the hub or, if the hub does not answer, from the local cache.

    Args:
        name: its name on the hub, for the error message.
        load: loads it with the libraries' own calls; they run in offline mode if the hub does not
            answer.
        folder_key: the configuration key that takes a local folder instead, for the message.
        embedded: the override that chooses an alternative without network, for the message.

    Raises:
        SourceError: it is not in the cache and the hub cannot be reached, or does not have it.
    """
    offline = constants.HF_HUB_OFFLINE or not _hub_answers()
    try:
        with _hub_offline(offline), stage(f"loading {name}"):
            return load()
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if offline:
            reason = f"is not in the cache and {constants.ENDPOINT} cannot be reached"
        raise SourceError(
            f"{name}: {reason}; give a folder with {folder_key}=FOLDER, or take the embedded "
            f"{embedded}, which needs no network"
        ) from error


def name_embedded_task(name: str, family: str) -> str:
    """Return the override that chooses a generated task with the same schema as a hub task.

    Args:
        name: name of the task; its generated counterpart is called `demo_` + `name`.
        family: the generated task to choose if this one has no counterpart of its own.
    """
    own = f"demo_{name}"
    there = (files("sparsead.conf") / "task" / f"{own}.yaml").is_file()
    return f"task={own if there else family}"


def _hub_answers() -> bool:
    """Tell whether the hub answers in time.

    The request runs in its own thread, because DNS resolution has no timeout of its own.
    """
    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(
                get_session().head(constants.ENDPOINT, timeout=_ANSWER_SECONDS).status_code
            )
        except Exception:
            log.debug("no answer from %s", constants.ENDPOINT, exc_info=True)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return bool(answers)


@contextmanager
def _hub_offline(offline: bool) -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
