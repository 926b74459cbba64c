"""A run's task, backbone and tokenised data; runs that share them load them once a process."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple

from datasets import DatasetDict

from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config import BackboneSpec, RunSpec, TaskSpec
from sparsead.registry import TASKS
from sparsead.runs.identity import file_digest


class Inputs(NamedTuple):
    """What a run starts from; nothing of it changes while a run trains."""

    task: Any
    backbone: Backbone
    data: DatasetDict


def load_inputs(spec: RunSpec) -> Inputs:
    """Return the run's inputs, the same objects when the last run had the same.

    Raises:
        SparseadError: they cannot be had.
    """
    digests = tuple(file_digest(file) for file in spec.task.local_files())
    return _load(json.dumps(asdict(spec.task)), json.dumps(asdict(spec.backbone)), digests)


@lru_cache(maxsize=1)
def _load(task_json: str, backbone_json: str, _digests: tuple[str, ...]) -> Inputs:
    chosen = TaskSpec(**json.loads(task_json))
    task = TASKS.bind(chosen.method, chosen.arguments())()
    backbone = load_backbone(BackboneSpec(**json.loads(backbone_json)))
    return Inputs(task, backbone, task.encode(task.load(), backbone.tokenizer))
