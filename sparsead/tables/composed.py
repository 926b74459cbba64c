"""A cache of composed configurations: Hydra needs 50 ms for each, and a table has hundreds."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from typing_extensions import TypedDict

from sparsead.config.backbone_folder import names_folder
from sparsead.config.choices import config_folders, list_groups
from sparsead.config.compose import compose_as
from sparsead.config.quoting import overridden_key, read_value
from sparsead.config.schema import expand_user
from sparsead.config.trust import is_trusted
from sparsead.errors import ConfigError
from sparsead.runs.checked import find_checksummed, write_checksummed
from sparsead.runs.files import file_digest
from sparsead.runs.request import RunRequest
from sparsead.runs.result import Config

CACHE_FILE = Path("cache") / "composed.json"


def compose_all(overrides: Sequence[Sequence[str]]) -> list[RunRequest]:
    """Compose each list of overrides, or take it from the cache if conf/ has not changed since.

    The cache is a file below the outputs folder, if that exists, and this process's memory. The
    file may be deleted or damaged at any time. An entry is valid for one state of conf/ and of the
    code only, and is dropped after it; its values are checked like those of a new composition. A
    run of code of a user's own is composed each time, because the file may come from somebody else;
    so are overrides whose values come from elsewhere, such as the environment.

    Raises:
        ConfigError: an override is wrong.
    """
    if not overrides:
        return []
    cache = _outputs(overrides[0]) / CACHE_FILE
    cacheable = _is_cacheable(overrides)
    stored = _read(cache) if cacheable else {}
    known = {**stored, **_COMPOSED} if cacheable else {}
    state = hash_conf()
    here = [os.getcwd(), os.path.expanduser("~")]  # on which paths and names of files depend
    keys = [
        None if any(map(_reads_elsewhere, each)) else f"{state}-{_hash([here, list(each)])}"
        for each in overrides
    ]
    recalled = [
        _recall(known[key], each) if key in known else None
        for key, each in zip(keys, overrides, strict=True)
    ]
    requests = [
        found or compose_as(RunRequest.from_config, each)
        for found, each in zip(recalled, overrides, strict=True)
    ]
    entries = {
        key: run.to_dict() if found is None else known[key]
        for key, found, run in zip(keys, recalled, requests, strict=True)
        if key is not None
    }
    if cacheable:
        _COMPOSED.update(entries)
    changed = any(stored.get(key) != entry for key, entry in entries.items())
    if cacheable and changed and cache.parent.parent.is_dir():
        valid = {key: entry for key, entry in stored.items() if key.startswith(state)}
        with suppress(OSError):  # a read-only folder or a full disk: work without the cache
            write_checksummed(cache, {"runs": {**valid, **entries}})
    return requests


def forget_compositions() -> None:
    """Read every composition from its file again, or compose it."""
    _COMPOSED.clear()


_COMPOSED: dict[str, Any] = {}
"""What this process has composed, also while there is no outputs folder to keep it in."""

_ELSEWHERE = re.compile(r"\$\{.*:|\.revision=(?![0-9a-f]{40}$)")
"""A resolver's call, such as `${oc.env:HOME}`, or the name of a branch or tag of the hub: the value
may change while the override does not."""


def _reads_elsewhere(override: str) -> bool:
    """Tell whether an override's meaning depends on the environment, the hub or a folder."""
    return _ELSEWHERE.search(override) is not None or names_folder(override)


class _Request(TypedDict):
    spec: Config
    outputs: str
    rerun: bool
    threads: int | None
    tracking: dict[str, str | None]


class _Cache(TypedDict):
    runs: dict[str, _Request]


def _read(cache: Path) -> Mapping[str, Any]:
    found = find_checksummed(cache, _Cache)
    return {} if found is None else found["runs"]


def _recall(entry: Any, overrides: Sequence[str]) -> RunRequest | None:
    """Return the run of an entry; None if it has to be composed anew.

    An entry with other outputs than the typed ones is none of this program's.
    """
    if not is_trusted(entry["spec"]):
        return None
    try:
        request = RunRequest.from_dict(entry)
    except (TypeError, ConfigError):  # of another version, or a file is gone: compose it again
        return None
    return request if request.outputs == Path(expand_user(str(_outputs(overrides)))) else None


def _is_cacheable(overrides: Iterable[Sequence[str]]) -> bool:
    """Tell whether only conf/ is read: with `hydra.searchpath`, other files are read too."""
    return not any(overridden_key(o).startswith("hydra") for each in overrides for o in each)


def _outputs(overrides: Sequence[str]) -> Path:
    given = [read_value(each) for each in overrides if overridden_key(each) == "outputs"]
    return Path((given or ["outputs"])[-1])


_READ = ("sparsead.conf", "sparsead.config", "sparsead.runs")
_CODE = (".yaml", ".py")


def hash_conf() -> str:
    """Return a hash of what a composition depends on besides the overrides.

    That is the content of conf/, of a folder of the user's own and of the packages that read them;
    times and sizes of files would not show every change.
    """
    _, *own = config_folders()
    groups = [folder / group for folder in own for group in list_groups()]
    folders = [*(Path(str(files(package))) for package in _READ), *groups]
    read = sorted(
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix in _CODE and not file.name.startswith(".") and file.is_file()
    )
    states = [(str(file), file_digest(file)) for file in read]
    return _hash([hydra.__version__, omegaconf.__version__, *states])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
