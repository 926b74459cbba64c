"""A run's identity: a hash of what decides its result."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from sparsead.config.groups import SPLITS
from sparsead.config.run import RunSpec
from sparsead.errors import RecordError

RESULT_FORMAT = 6
"""Raised when the same configuration no longer gives the same result."""

_BACKBONE_SUFFIXES = (".json", ".txt", ".model", ".safetensors")


def identity(spec: RunSpec) -> str:
    """Return 16 hexadecimal digits that two runs share when the same run was asked for.

    Where a run reads and writes does not count; what it reads from a local folder does, by
    content, so that a folder may move and two different folders never share a record. Device and
    precision count as they were asked for: auto is auto, and the record says what it chose.
    """
    return _hash(_decisive(spec))


def setting(spec: RunSpec) -> str:
    """Return what the runs of one row share: the identity but for the seed.

    Seeds that fuse adapters of their own seed are one row: what counts is the sources' setting.
    """
    decisive = _decisive(spec)
    del decisive["seed"]
    if spec.adapter.sources():
        sources = [_setting_of(folder) for folder in spec.adapter.sources()]
        decisive["adapter"]["options"]["fusion"]["sources"] = sources
    return _hash(decisive)


def placeless(spec: RunSpec) -> dict[str, Any]:
    """Return the run as plain values, but where it is written and whether it is done again."""
    return {k: v for k, v in spec.to_dict().items() if k not in ("outputs", "rerun")}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, read once per modification of the file."""
    status = path.stat()
    return _digest_of(path.resolve(), status.st_mtime_ns, status.st_size)


def _decisive(spec: RunSpec) -> dict[str, Any]:
    decisive = placeless(spec)
    decisive["task"]["path"] = [file_digest(file) for file in spec.task.local_files()]
    if spec.adapter.sources():
        weights = [_weights_files(folder) for folder in spec.adapter.sources()]
        prune = decisive["adapter"]["options"]["fusion"].get("prune")
        decisive["adapter"]["options"]["fusion"] = {"sources": weights, "prune": prune}
    for key in (*SPLITS, "protocol"):
        del decisive["task"][key]
    del decisive["adapter"]["protocol"]
    del decisive["pruner"]["density"]  # a check: the pruner's own keys and the sparsity say it
    backbone = _backbone_files(spec.backbone.path)
    decisive["backbone"]["path"] = {file.name: file_digest(file) for file in backbone}
    return decisive


def _hash(decisive: dict[str, Any]) -> str:
    canonical = json.dumps([RESULT_FORMAT, decisive], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@cache
def _digest_of(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _setting_of(folder: str) -> str:
    result = json.loads((Path(folder) / "result.json").read_text("utf-8"))
    return str(result["setting"])


def _weights_files(folder: str) -> list[str]:
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RecordError(f"adapter.fusion.sources={folder}: is no folder of a finished run")
    return [file_digest(file) for file in files]


def _backbone_files(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    return sorted(f for f in Path(folder).iterdir() if f.suffix in _BACKBONE_SUFFIXES)
