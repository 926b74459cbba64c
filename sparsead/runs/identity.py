"""A run's identity: a hash of what decides its result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sparsead.config.groups import SPLITS
from sparsead.config.run import RunSpec
from sparsead.runs.files import file_digest
from sparsead.runs.prerequisites import fingerprint_sources

RESULT_FORMAT = 6
"""Raised when the same configuration no longer gives the same result."""

_BACKBONE_SUFFIXES = (".json", ".txt", ".model", ".safetensors")


def compute_identity(spec: RunSpec) -> str:
    """Return 16 hexadecimal digits that two runs share when the same run was asked for.

    Where a run reads and writes does not count; what it reads from a local folder does, by
    content, so that a folder may move and two different folders never share a record. Device and
    precision count as they were asked for: auto is auto, and the record says what it chose.
    """
    return _hash(_decisive(spec))


def compute_setting(spec: RunSpec) -> str:
    """Return what the runs of one row share: the identity but for the seed.

    Seeds that each start from runs of their own seed are one row: the setting of those runs counts.
    """
    decisive = _decisive(spec)
    del decisive["seed"]
    decisive["adapter"]["options"] |= fingerprint_sources(spec, by_setting=True)
    return _hash(decisive)


def _decisive(spec: RunSpec) -> dict[str, Any]:
    decisive = spec.to_dict()
    decisive["task"]["path"] = [file_digest(file) for file in spec.task.local_files()]
    decisive["adapter"]["options"] |= fingerprint_sources(spec, by_setting=False)
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


def _backbone_files(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    return sorted(f for f in Path(folder).iterdir() if f.suffix in _BACKBONE_SUFFIXES)
