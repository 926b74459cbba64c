"""An index of the records: a cache of the values that lists and tables need.

The index only saves time. An entry is used only while its record's `result.json` is unchanged; an
index that was deleted or damaged is rebuilt from the records.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NotRequired, get_type_hints

from typing_extensions import TypedDict

from sparsead.config.seeds import SEED_KEYS
from sparsead.errors import ConfigError, warn
from sparsead.runs.checked import find_checksummed, write_checksummed
from sparsead.runs.record import RESULT_FILE, RunRecord, read_listed, restore_all_replaced
from sparsead.runs.result import Config, Count, Summary, check_names

INDEX_FILE = Path("cache") / "index.json"
_BULKY = ("history", "environment", "provenance", "data", "from_data", "predictions")


class Entry(TypedDict):
    """What the index knows of a record; it holds as long as the file of the result is this one.

    `stamp` has the file's modification time, size and inode.
    """

    stamp: list[int]
    result: dict[str, Any]


def read_summaries(outputs: Path) -> list[RunRecord]:
    """Return all finished runs sorted by name, without history, environment and lists of tensors.

    A record that cannot be used is named in a warning and left out.
    """
    restore_all_replaced(outputs)
    with _pause_cycle_collection():
        return _read_summaries(outputs)


@contextmanager
def _pause_cycle_collection() -> Iterator[None]:
    """Disable Python's collector of reference cycles in the block.

    Values that are read from JSON form no cycles, and with ten thousand records the collector's
    passes over all objects take as long as reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_summaries(outputs: Path) -> list[RunRecord]:
    runs = outputs / "runs"
    known = _read(outputs / INDEX_FILE)
    entries = {}
    for name, stamp in _scan(runs):
        entry = known.get(name)
        if entry is None or entry["stamp"] != stamp:
            entry = _summarize(runs / name, stamp)
        if entry is not None:
            entries[name] = entry
    if entries != known:
        with suppress(OSError):  # a read-only folder or a full disk: work without the index
            _write(outputs / INDEX_FILE, entries)
    return [RunRecord(runs / name, entry["result"]) for name, entry in entries.items()]


def _scan(runs: Path) -> list[tuple[str, list[int]]]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(runs):
            if entry.name.startswith("."):
                continue
            try:
                if not entry.is_dir():
                    continue
                status = os.stat(os.path.join(entry.path, RESULT_FILE))
            except FileNotFoundError:
                continue
            except OSError as error:  # such as a folder of another user, or a link to itself
                warn(f"{entry.path}: cannot be read ({error.strerror}); it is left out")
                continue
            found.append((entry.name, [status.st_mtime_ns, status.st_size, status.st_ino]))
    return sorted(found)


def _summarize(folder: Path, stamp: list[int]) -> Entry | None:
    record = read_listed(folder)
    if record is None:
        return None
    slim = {key: value for key, value in record.result.items() if key not in _BULKY}
    counts = slim["sparsity"].items()
    slim["sparsity"] = {k: v for k, v in counts if not isinstance(v, dict | list)}
    return {"stamp": stamp, "result": slim}


def _without(schema: type, left_out: Collection[str]) -> Any:
    """Return a `TypedDict` like this one, without some of its keys."""
    hints = get_type_hints(schema, include_extras=True)
    keys = {key: hint for key, hint in hints.items() if key not in left_out}
    return TypedDict(f"Part{schema.__name__}", keys)  # type: ignore[operator]


class _Seeds(TypedDict):
    seed: Count
    seed_data: NotRequired[Count | None]
    seed_init: NotRequired[Count | None]
    seed_mask: NotRequired[Count | None]


class _Stored(TypedDict):
    """An entry as the file has it: its configuration is `setting` of `_Index`, with these seeds."""

    stamp: list[int]
    result: _without(Summary, ["config"])  # type: ignore[valid-type]
    setting: Count
    seeds: _Seeds


class _Index(TypedDict):
    """The file. Runs of one setting share a configuration, which is most of what it holds."""

    settings: list[_without(Config, SEED_KEYS)]  # type: ignore[valid-type]
    runs: dict[str, _Stored]


def _read(path: Path) -> dict[str, Entry]:
    found = find_checksummed(path, _Index)
    if found is None:
        return {}
    settings = found["settings"]
    try:
        for setting in settings:
            check_names(setting)
        if any(stored["setting"] >= len(settings) for stored in found["runs"].values()):
            raise ConfigError("a run refers to a setting that the index does not contain")
    except ConfigError as error:
        warn(f"{path}: was altered ({error}); it is made anew")
        return {}
    entries = {}
    for name, stored in found["runs"].items():
        config = settings[stored["setting"]] | stored["seeds"]
        entries[name] = Entry(stamp=stored["stamp"], result=stored["result"] | {"config": config})
    return entries


def _write(path: Path, entries: Mapping[str, Entry]) -> None:
    settings: dict[str, int] = {}
    runs = {}
    for name, entry in entries.items():
        result, config = dict(entry["result"]), dict(entry["result"]["config"])
        del result["config"]
        seeds: Any = {key: config.pop(key) for key in SEED_KEYS if key in config}
        setting = settings.setdefault(json.dumps(config), len(settings))
        runs[name] = _Stored(stamp=entry["stamp"], result=result, setting=setting, seeds=seeds)
    write_checksummed(path, {"settings": [json.loads(text) for text in settings], "runs": runs})
