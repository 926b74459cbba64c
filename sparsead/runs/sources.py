"""The runs that a fusion starts from: found by their names, or done first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sparsead.config.compose import compose
from sparsead.config.run import RunSpec
from sparsead.errors import ClaimedError, ConfigError, RecordError
from sparsead.runs.query import find_run
from sparsead.runs.record import RunRecord, run_folder

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_FOR_EVERY_TASK = ("task.path", "task.limit", "task.max_length")

Do = Callable[[RunSpec], object]


def with_sources(spec: RunSpec, overrides: Sequence[str], do: Do) -> RunSpec:
    """Return the run with its sources found; those of `adapter.fusion.tasks` are done first.

    Args:
        spec: any run; one that fuses nothing comes back as it is.
        overrides: that `spec` was composed of.
        do: does and records a run, or returns where it is recorded already.

    Raises:
        ConfigError: a source is no run that can be fused, or a task composes to none.
    """
    stage = first_stage(spec, overrides)
    for run in stage:
        log.info("adapter.fusion.tasks: %s", run_folder(run).name)
        _do_or_await(run, do)
    return found(_second_stage(spec, stage) if stage else spec)


def first_stage(spec: RunSpec, overrides: Sequence[str]) -> list[RunSpec]:
    """Return the runs of `adapter.fusion.tasks`: adapter=pfeiffer, and all else as the fusion's.

    Of the overrides of the fusion's own task, another task takes path, limit and max_length.

    Raises:
        ConfigError: a task composes to no run, or there are both tasks and sources.
    """
    tasks = spec.adapter.first_stage_tasks()
    if tasks and spec.adapter.sources():
        raise ConfigError("adapter.fusion: give either sources or tasks")
    return [_on_task(spec, overrides, task) for task in tasks]


def found(spec: RunSpec) -> RunSpec:
    """Return the run with its sources' folders in the place of what the user calls them.

    The options of the adapters in them stand beside, as `adapter.fusion.adapters`: a trained
    fusion can then be rebuilt where its sources are no more.

    Raises:
        ConfigError: a source is no finished run of adapter=pfeiffer on this backbone.
    """
    if not spec.adapter.sources():
        return spec
    records = [_find(spec, source) for source in spec.adapter.sources()]
    folders = [str(record.folder) for record in records]
    options = [record.result["config"]["adapter"]["options"] for record in records]
    return replace(spec, adapter=spec.adapter.fusing(sources=folders, adapters=options))


def _find(spec: RunSpec, source: str) -> RunRecord:
    try:
        record = find_run(source, spec.outputs)
        adapter, backbone = (record.result["config"][group] for group in ("adapter", "backbone"))
        method, trained_on = adapter["method"], backbone["name"]
    except (RecordError, KeyError, TypeError) as error:
        raise ConfigError(
            f"adapter.fusion.sources: {error}; adapter.fusion.tasks=[TASK,TASK] trains new ones"
        ) from error
    key = f"adapter.fusion.sources={source}"
    if method != "pfeiffer":
        raise ConfigError(f"{key}: was run with adapter.method={method}; fusion takes pfeiffer")
    if trained_on != spec.backbone.name:
        raise ConfigError(
            f"{key}: was trained in another backbone, {trained_on}; "
            f"this run has backbone={spec.backbone.name}"
        )
    return record


def _on_task(spec: RunSpec, overrides: Sequence[str], task: str) -> RunSpec:
    same_task = task == spec.task.name
    kept = [override for override in overrides if _is_kept(_key(override), same_task)]
    groups = [f"task={task}", "adapter=pfeiffer", f"pruner={spec.pruner.name}"]
    run = compose([*kept, *groups])
    options = {key: value for key, value in run.adapter.options.items() if key != "fusion"}
    return replace(run, adapter=replace(run.adapter, options=options))


def _is_kept(key: str, same_task: bool) -> bool:
    if key in ("task", "adapter", "pruner", "rerun") or key.startswith("adapter."):
        return False
    return same_task or not key.startswith("task.") or key in _FOR_EVERY_TASK


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _second_stage(spec: RunSpec, stage: Sequence[RunSpec]) -> RunSpec:
    """Return the fusion of these runs; unless it is itself prunable, only they are pruned."""
    adapter = spec.adapter.fusing(sources=[str(run_folder(run)) for run in stage], tasks=[])
    dense: dict[str, Any] = {}
    if spec.adapter.options["fusion"].get("prune") is None:
        dense = {"pruner": compose(["pruner=none"]).pruner, "sparsity": 0.0}
    return replace(spec, adapter=adapter, **dense)


def _do_or_await(run: RunSpec, do: Do) -> None:
    while True:
        try:
            do(run)
        except ClaimedError:
            time.sleep(_POLL_SECONDS)
        else:
            return
