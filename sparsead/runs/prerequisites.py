"""Runs that start from other runs: their prerequisites, their sources, and their identity.

Prerequisites are runs that have to be finished first; sources are finished runs that a run starts
from. Today only the second stage of `adapter=fusion` has them: its sources are finished runs of
`adapter=pfeiffer`, or folders of such adapters that another library wrote. With `adapter.start`,
the weights of any adapter start from a run or such a folder. Only this module knows about that; the
rest of the program asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsead.config.compose import compose
from sparsead.config.quoting import outputs_option, overridden_key, quote
from sparsead.config.run import RunSpec
from sparsead.config.schema import expand_user
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.defaults import OPTIONS
from sparsead.runs.files import file_digest
from sparsead.runs.foreign import digest_foreign, is_foreign, read_foreign
from sparsead.runs.query import find_run
from sparsead.runs.record import RESULT_FILE, RunRecord
from sparsead.runs.sources import pin_revisions
from sparsead.runs.states import Done, read_state

_OPTION = "fusion"
_FIRST_STAGE = "pfeiffer"
_COMPUTING = ("bottleneck", "activation", "scale", "layer_norm", "alpha")
"""Options that decide what an adapter computes, besides the shapes of its weights."""
_FOR_EVERY_TASK = ("task.path", "task.limit", "task.max_length")


def find_prerequisites(spec: RunSpec, overrides: Sequence[str]) -> list[RunSpec]:
    """Return the runs that have to be finished before this one, and that become its sources.

    There is one for each task of `adapter.fusion.tasks`, with `adapter=pfeiffer` and otherwise the
    overrides of this run. Overrides of this run's task apply to another task only if they set its
    path, limit or maximum length.

    Args:
        spec: any run; most have no prerequisites.
        overrides: the overrides that `spec` was composed from.

    Raises:
        ConfigError: the overrides are wrong for one of the tasks, or both tasks and sources are
            given.
    """
    tasks = _listed(spec, "tasks", "of tasks")
    if tasks and list_sources(spec):
        raise ConfigError("adapter.fusion: give either sources or tasks")
    return [_on_task(spec, overrides, task) for task in tasks]


def resolve_sources(spec: RunSpec, outputs: Path, done: Sequence[Path] = ()) -> RunSpec:
    """Return the run with its sources, and what it starts from, replaced by their folders.

    The sources' adapter options are stored beside the folders, so that a trained run can be rebuilt
    after its sources were deleted.

    Args:
        spec: any run; one without sources is returned unchanged.
        outputs: folder of the runs, in which the sources are looked up by name or identity.
        done: folders of the finished runs of `find_prerequisites`, in the same order.

    Raises:
        ConfigError: a source is neither a finished run of `adapter=pfeiffer` in this backbone nor
            the folder of such an adapter, or the start's adapter is not this run's.
    """
    spec = _resolve_start(spec, outputs)
    spec = _second_stage(spec, done) if done else spec
    if not list_sources(spec):
        return spec
    given = map(expand_user, list_sources(spec))
    found = [_find_source(spec, source, outputs) for source in given]
    folders, options = ([each[part] for each in found] for part in (0, 1))
    return _with_options(spec, sources=folders, adapters=options)


def check_prerequisites(spec: RunSpec) -> None:
    """Check the type of the options that name tasks and sources.

    Raises:
        ConfigError: one of them is not a list.
    """
    list_sources(spec)
    _listed(spec, "tasks", "of tasks")


def list_sources(spec: RunSpec) -> list[str]:
    """Return the sources of a run: names as the user gave them, or folders after resolving."""
    return _listed(spec, "sources", "of runs")


def format_sources_override(folders: Sequence[Path]) -> str:
    """Return the override of `sparsead train` that sets these folders as a run's sources."""
    quoted = (quote(str(folder)) for folder in folders)
    return f"adapter.{_OPTION}.sources=[{','.join(quoted)}]"


def drop_sources(spec: RunSpec) -> RunSpec:
    """Return a trained run without its sources and its start: they are not needed to rebuild it.

    The run's own weights file contains the sources' weights. The start of an adapter whose weights
    were chosen there stays, because its absence means that a pruner chooses them.
    """
    if not spec.adapter.chooses:
        spec = replace(spec, adapter=replace(spec.adapter, start=None, start_head=False))
    return _with_options(spec, sources=[]) if list_sources(spec) else spec


def fingerprint_sources(spec: RunSpec, *, by_setting: bool) -> dict[str, Any]:
    """Return the option that names the sources, with hashes in the place of folders.

    It replaces the original option in the identity and the setting of a run.

    Args:
        spec: any run; one without sources gives an empty result.
        by_setting: use the sources' settings, which are the same for all seeds, instead of the
            digests of their weights.

    Raises:
        RecordError: a source is not the folder of a finished run.
    """
    if not list_sources(spec):
        return {}
    named = _setting if by_setting else _weights
    sources = [named(Path(folder)) for folder in list_sources(spec)]
    return {_OPTION: {"sources": sources, "prune": spec.adapter.options[_OPTION].get("prune")}}


def is_ready_as_source(folder: Path) -> bool:
    """Tell whether another run can start from a run: it is done, and its weights are here."""
    return isinstance(read_state(folder), Done) and not lacks_weights(folder)


def lacks_weights(folder: Path) -> bool:
    """Tell whether a run's folder has a record without weights, from which no run can start."""
    return (folder / RESULT_FILE).is_file() and not any(folder.glob("*.safetensors"))


def fingerprint_start(spec: RunSpec, *, by_setting: bool) -> str | list[str] | None:
    """Return what stands for `adapter.start` in the identity and the setting of a run.

    Args:
        spec: any run, its start being a folder; one without a start gives None.
        by_setting: use a run's setting instead of the digests of its weights.

    Raises:
        RecordError: the start is neither the folder of a finished run nor one of another library.
    """
    if spec.adapter.start is None:
        return None
    folder = Path(spec.adapter.start)
    return (_setting if by_setting else _weights)(folder)


def with_named_sources(spec: RunSpec, names: Sequence[str]) -> RunSpec:
    """Return the run as it is trained, its sources being `names` instead of folders.

    Args:
        spec: any run, with its sources or with the tasks of its prerequisites.
        names: such as hashes of the sources' configurations; without any, the run is returned
            unchanged.
    """
    if not names:
        return spec
    spec = _second_stage(spec, ()) if _listed(spec, "tasks", "of tasks") else spec
    option = {"sources": list(names), "prune": spec.adapter.options[_OPTION].get("prune")}
    options = {**spec.adapter.options, _OPTION: option}
    return replace(spec, adapter=replace(spec.adapter, options=options))


def _listed(spec: RunSpec, key: str, kind: str) -> list[str]:
    option = spec.adapter.options.get(_OPTION, {})
    names = option.get(key, []) if isinstance(option, dict) else option
    if not isinstance(names, list):
        raise ConfigError(f"adapter.{_OPTION}.{key}={names}: must be a list {kind}")
    return [str(name) for name in names]


def _with_options(spec: RunSpec, **changes: Any) -> RunSpec:
    options = {**spec.adapter.options, _OPTION: {**spec.adapter.options[_OPTION], **changes}}
    return replace(spec, adapter=replace(spec.adapter, options=options))


def _find_source(spec: RunSpec, source: str, outputs: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the folder of a source, and the options of its adapter."""
    key = f"adapter.fusion.sources={source}"
    if is_foreign(Path(source)):
        adapter = read_foreign(Path(source))
        if adapter.method != _FIRST_STAGE:
            raise ConfigError(
                f"{key}: holds adapter.method={adapter.method}; fusion needs pfeiffer"
            )
        return source, adapter.options
    try:
        record = find_run(source, outputs)
        adapter, backbone = (record.result["config"][group] for group in ("adapter", "backbone"))
        method, trained_in = adapter["method"], backbone["name"]
    except (RecordError, KeyError, TypeError) as error:
        raise ConfigError(
            f"adapter.fusion.sources: {error}; adapter.fusion.tasks=[TASK,TASK] trains new ones"
        ) from error
    if method != _FIRST_STAGE:
        raise ConfigError(f"{key}: has adapter.method={method}; fusion needs adapter=pfeiffer")
    _check_backbone(spec, key, trained_in)
    return str(record.folder), adapter["options"]


def _resolve_start(spec: RunSpec, outputs: Path) -> RunSpec:
    if spec.adapter.start is None:
        return spec
    start = expand_user(spec.adapter.start)
    key = f"adapter.start={start}"
    if is_foreign(Path(start)):
        foreign = read_foreign(Path(start))
        folder, method, options = foreign.folder, foreign.method, foreign.options
    else:
        try:
            record = find_run(start, outputs)
        except RecordError as error:
            raise ConfigError(
                f"adapter.start: {error}; a folder of adapters or peft has adapter_config.json"
            ) from error
        adapter = record.result["config"]["adapter"]
        _check_backbone(spec, key, record.result["config"]["backbone"]["name"])
        folder, method = record.folder, adapter["method"]
        options = {**OPTIONS["adapter"].get(method, {}), **adapter["options"]}
    _check_start(spec, key, method, options)
    return replace(spec, adapter=replace(spec.adapter, start=str(folder)))


def _check_start(spec: RunSpec, key: str, method: str, options: Mapping[str, Any]) -> None:
    """Refuse the weights of an adapter that computes something else with them than this run's."""
    own = spec.adapter
    if method != own.method:
        raise ConfigError(
            f"{key}: its adapter has the method {method}; this run has adapter={own.name}, of the "
            f"method {own.method}"
        )
    here = {**OPTIONS["adapter"].get(method, {}), **own.options}
    if "budget" in options and (options["budget"] is None) != (here.get("budget") is None):
        raise ConfigError(
            f"{key}: was trained with adapter.budget={_format(options['budget'])}; this run has "
            f"adapter.budget={_format(here.get('budget'))}"
        )
    for option in _COMPUTING:
        if option in options and options[option] != here.get(option):
            value = _format(options[option])
            raise ConfigError(
                f"adapter.{option}={here.get(option)}: the weights of {key} were trained with "
                f"{value}; set adapter.{option}={value}"
            )


def _format(value: Any) -> str:
    return "null" if value is None else str(value)


def _check_backbone(spec: RunSpec, key: str, trained_in: str) -> None:
    if trained_in != spec.backbone.name:
        raise ConfigError(
            f"{key}: was trained in another backbone, {trained_in}; "
            f"this run has backbone={spec.backbone.name}"
        )


def _on_task(spec: RunSpec, overrides: Sequence[str], task: str) -> RunSpec:
    same_task = task == (spec.task.family or spec.task.name)
    kept = [override for override in overrides if _is_kept(overridden_key(override), same_task)]
    groups = [f"task={task}", f"adapter={_FIRST_STAGE}", f"pruner={spec.pruner.name}"]
    run = pin_revisions(compose([*kept, *groups]))
    options = {key: value for key, value in run.adapter.options.items() if key != _OPTION}
    return replace(run, adapter=replace(run.adapter, options=options))


def _is_kept(key: str, same_task: bool) -> bool:
    if key in ("task", "adapter", "pruner") or key.startswith("adapter."):
        return False
    return same_task or not key.startswith("task.") or key in _FOR_EVERY_TASK


def _second_stage(spec: RunSpec, first_stage: Sequence[Path]) -> RunSpec:
    """Return the second stage, the fusion of these runs' adapters.

    It is dense unless `adapter.fusion.prune` is set: the sparsity applies to the first stage.
    """
    fusion = _with_options(spec, sources=[str(folder) for folder in first_stage], tasks=[])
    if spec.adapter.options[_OPTION].get("prune") is not None:
        return fusion
    return replace(fusion, pruner=compose(["pruner=none"]).pruner, sparsity=0.0)


def _setting(folder: Path) -> str | list[str]:
    if is_foreign(folder):
        return digest_foreign(folder)
    return str(RunRecord.read(folder).result["setting"])


def _weights(folder: Path) -> list[str]:
    if is_foreign(folder):
        return digest_foreign(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _explain_missing_weights(folder)
    return [file_digest(file) for file in files]


def _explain_missing_weights(folder: Path) -> RecordError:
    """Return the error that a folder from which a run is to start has no weights.

    A record that came with an archive has none. It counts as finished, so that nothing trains this
    run as long as the record is there.
    """
    if folder.parent.name != "runs" or not lacks_weights(folder):
        return RecordError(f"{folder}: is not the folder of a finished run with its weights")
    where = outputs_option(folder.parent.parent)
    return RecordError(
        f"{folder}: has a record but no weights, from which another run starts; "
        f"`sparsead runs delete run={folder.name}{where}` lets it be trained again"
    )
