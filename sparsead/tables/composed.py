"""A cache of composed configurations: Hydra needs 50 ms for each, and a table has hundreds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparsead.config.compose import compose_as
from sparsead.runs.files import read_json, write_atomically
from sparsead.runs.request import RunRequest

CACHE_FILE = Path("cache") / "composed.json"


def compose_all(overrides: Sequence[Sequence[str]]) -> list[RunRequest]:
    """Compose each list of overrides, or take it from the cache if conf/ has not changed since.

    The cache is a file below the outputs folder, if that exists. It may be deleted or damaged at
    any time. An entry is valid for one state of conf/ only, and its values are checked like those
    of a new composition.

    Raises:
        ConfigError: an override is wrong.
    """
    if not overrides:
        return []
    cache = _outputs(overrides[0]) / CACHE_FILE
    known = read_json(cache) if _is_cacheable(overrides) else {}
    state = _state_of_conf()
    keys = [_hash([state, list(each)]) for each in overrides]
    recalled = [_recall(known.get(key)) for key in keys]
    if None not in recalled:
        return [request for request in recalled if request is not None]
    composed = [
        request or compose_as(RunRequest.from_config, each)
        for request, each in zip(recalled, overrides, strict=True)
    ]
    if _is_cacheable(overrides) and cache.parent.parent.is_dir():
        entries = {key: run.to_dict() for key, run in zip(keys, composed, strict=True)}
        with suppress(OSError):  # a read-only folder or a full disk: work without the cache
            write_atomically(cache, json.dumps(known | entries))
    return composed


def _recall(entry: Any) -> RunRequest | None:
    try:
        return RunRequest.from_dict(entry)
    except (KeyError, TypeError, AttributeError):
        return None


def _is_cacheable(overrides: Iterable[Sequence[str]]) -> bool:
    """Tell whether only conf/ is read: with `hydra.searchpath`, other files are read too."""
    return not any(o.startswith(("hydra", "+hydra")) for each in overrides for o in each)


def _outputs(overrides: Sequence[str]) -> Path:
    given = [o.partition("=")[2] for o in overrides if o.startswith("outputs=")]
    return Path((given or ["outputs"])[-1])


def _state_of_conf() -> str:
    root = Path(str(files("sparsead.conf")))
    states = ((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in root.rglob("*.yaml"))
    return _hash(sorted(states))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
