"""An index of the records: a cache of the values that lists and tables need.

The index only saves time. An entry is used only while its record's `result.json` is unchanged; an
index that was deleted or damaged is rebuilt from the records.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparsead.runs.files import write_atomically
from sparsead.runs.record import RESULT_FILE, RunRecord, read_listed, restore_all_replaced

INDEX_FILE = Path("cache") / "index.json"
_BULKY = ("history", "environment")

Entries = dict[str, Any]


def read_summaries(outputs: Path) -> list[RunRecord]:
    """Return all finished runs sorted by name, without history, environment and lists of tensors.

    A record that cannot be used is named in a warning and left out.
    """
    restore_all_replaced(outputs)
    runs = outputs / "runs"
    known = _read(outputs / INDEX_FILE)
    found = ((name, _entry(runs / name, stamp, known.get(name))) for name, stamp in _scan(runs))
    entries = {name: entry for name, entry in found if entry is not None}
    if entries != known:
        with suppress(OSError):  # a read-only folder or a full disk: work without the index
            _write(outputs / INDEX_FILE, entries)
    return [RunRecord(runs / name, entry["result"]) for name, entry in entries.items()]


def _scan(runs: Path) -> list[tuple[str, list[int]]]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(runs):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            with suppress(FileNotFoundError):
                status = os.stat(os.path.join(entry.path, RESULT_FILE))
                found.append((entry.name, [status.st_mtime_ns, status.st_size, status.st_ino]))
    return sorted(found)


def _entry(folder: Path, stamp: list[int], known: Any) -> dict[str, Any] | None:
    if isinstance(known, dict) and known.get("stamp") == stamp:
        return known
    record = read_listed(folder)
    if record is None:
        return None
    result = record.result
    slim = {key: value for key, value in result.items() if key not in _BULKY}
    sparsity = slim.get("sparsity")
    if isinstance(sparsity, dict):
        slim["sparsity"] = {k: v for k, v in sparsity.items() if not isinstance(v, dict | list)}
    return {"stamp": stamp, "result": slim}


def _read(path: Path) -> Entries:
    with suppress(OSError, ValueError):
        digest, _, text = path.read_text("utf-8").partition("\n")
        if digest == _digest(text):
            entries = json.loads(text)
            return entries if isinstance(entries, dict) else {}
    return {}


def _write(path: Path, entries: Entries) -> None:
    text = json.dumps(entries)
    write_atomically(path, f"{_digest(text)}\n{text}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
