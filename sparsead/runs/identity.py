"""A run's identity: a hash of everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparsead.config.groups import SPLITS
from sparsead.config.run import RunSpec, drop_local_files
from sparsead.config.seeds import SEED_KEYS
from sparsead.runs.defaults import leave_out_defaults
from sparsead.runs.files import file_digest
from sparsead.runs.prerequisites import fingerprint_sources, fingerprint_start, with_named_sources

RESULT_FORMAT = 7
"""Version of the results; increase it when the same configuration gives different results."""

_CHOSEN_WEIGHTS = 2
"""Version of the results of runs that train chosen weights of the backbone.

Until version 2 such weights did not change before the end of the training, so that the scores were
those of the head alone. The version is hashed, so that records of that time are not found.
"""

_DECAYED = 2
"""Version of the results of runs with weight decay whose adapters are attached to a LayerNorm.

Until version 2 these adapters had no weight decay in BERT, RoBERTa, BART and other architectures
with a LayerNorm after each sublayer, whatever `protocol.weight_decay` said.
"""

_ATTACHED_TO_NORMS = ("pfeiffer", "fusion")

UNDECISIVE_KEYS = {
    "task": (*SPLITS, "protocol", "family"),
    "adapter": ("protocol",),
    "pruner": ("density", "controls"),
    "backbone": ("package_hub", "tokenizer_sha256"),
}
"""Keys that the hash leaves out, because other hashed values determine them.

Files are hashed by their content, a family by the task's name, and the protocol of a task or an
adapter by `protocol`, into which it was merged. The keys of the pruner only check the sparsity and
`pruner.control`. Those of the backbone say where weights of the same checksum are, and check the
tokenizer's files.
"""

_BACKBONE_SUFFIXES = (".json", ".txt", ".model", ".safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin")


def compute_identity(spec: RunSpec) -> str:
    """Return the run's identity, 16 hexadecimal digits; equal requests have equal identities.

    Paths do not count. Local data and weights count by their content, so that a folder may be
    moved, and two folders with different content never share a record. The hub's data and weights
    count by their name and, if the run names a revision, by its commit. Device and precision count
    as requested: `auto` stays `auto`, and the record says which one was used. A key that has its
    default does not count, so that an option that is added later changes no identity. Seeds count
    by the part of the run that they set: seed=2 is the same run as seed_data=2, seed_init=2 and
    seed_mask=2 together.
    """
    decisive = _decisive(spec)
    decisive["adapter"]["options"] |= fingerprint_sources(spec, by_setting=False)
    decisive["adapter"]["start"] = fingerprint_start(spec, by_setting=False)
    return _hash(decisive)


def compute_setting(spec: RunSpec) -> str:
    """Return a hash like the identity, but without the seed: the runs of one table row share it.

    Runs whose parts have separate seeds share another setting than runs of one seed: some of them
    have a part in common, so that their spread is not that of independent runs.

    Source runs count by their setting instead of their weights, because each seed of a row starts
    from source runs with the same seed.
    """
    decisive = _decisive(spec)
    del decisive["seed"]
    if spec.seeds.shared is None:
        decisive["seeds"] = "separate"
    decisive["adapter"]["options"] |= fingerprint_sources(spec, by_setting=True)
    decisive["adapter"]["start"] = fingerprint_start(spec, by_setting=True)
    return _hash(decisive)


def compute_recipe(spec: RunSpec, sources: Sequence[str] = ()) -> str:
    """Return a hash like the identity, but of the configuration alone: local files do not count.

    It finds a run among records that were made elsewhere, without the data that they read.

    Args:
        spec: any run, with or without its sources resolved.
        sources: the recipes of its source runs, in their order.
    """
    portable = RunSpec.from_dict(drop_local_files(spec.to_dict()))
    return _hash(_decisive(with_named_sources(portable, sources)))


def _decisive(spec: RunSpec) -> dict[str, Any]:
    decisive = spec.to_dict()
    for key in SEED_KEYS:
        del decisive[key]
    seeds = spec.seeds
    decisive["seed"] = asdict(seeds) if seeds.shared is None else seeds.shared
    decisive["task"]["path"] = [file_digest(file) for file in spec.task.local_files()]
    for group, keys in UNDECISIVE_KEYS.items():
        for key in keys:
            del decisive[group][key]
    decisive["task"]["name"] = spec.task.family or spec.task.name  # files may be renamed
    if spec.adapter.options.get("budget") is not None:
        decisive["adapter"]["chosen_weights"] = _CHOSEN_WEIGHTS
    if spec.adapter.method in _ATTACHED_TO_NORMS and spec.protocol.weight_decay > 0:
        decisive["adapter"]["decayed"] = _DECAYED
    backbone = _backbone_files(spec.backbone.path)
    decisive["backbone"]["path"] = {file.name: file_digest(file) for file in backbone}
    return decisive


def _hash(decisive: dict[str, Any]) -> str:
    canonical = json.dumps([RESULT_FORMAT, leave_out_defaults(decisive)], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _backbone_files(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    found = [file for file in Path(folder).iterdir() if file.suffix in _BACKBONE_SUFFIXES]
    if not any(file.suffix == ".safetensors" for file in found):  # else pickled ones are not read
        found += [file for name in _PICKLED for file in Path(folder).glob(name)]
    return sorted(found)
