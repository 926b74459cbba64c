"""Refuse a run that certainly cannot be assembled, before torch is imported for it.

What is refused here is refused where the model is assembled too. What the entries of architectures
say of models is compared with transformers' own by a test.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sparsead.backbones.contract import Architecture, architectures
from sparsead.backbones.lengths import check_tokens, count_positions
from sparsead.backbones.places import (
    NEXT_TOKEN,
    NO_OWN_HEAD,
    SEQ2SEQ,
    SiteError,
    build_bias_error,
    build_head_error,
    build_insertion_error,
    build_prefix_error,
    check_distinct,
    check_linear,
    find_patterns,
)
from sparsead.config.groups import TaskSpec
from sparsead.config.launchers import check_gpu
from sparsead.config.registry import bind_options, import_object
from sparsead.config.run import RunSpec
from sparsead.config.values.adapters import NO_PEFT, check_tuner_pruned
from sparsead.errors import ConfigError
from sparsead.hub.reach import check_reachable
from sparsead.runs.options import check_data, check_sources
from sparsead.runs.sources import list_sources
from sparsead.tasks.files import read_file

_SITES = {
    "mam": ("attention", "ffn_input", "ffn_output"),
    "parallel": ("ffn_input", "ffn_output"),
    "prefix": ("attention",),
}
"""By adapter method, the sites that it goes to where none of its options names them."""

_AT_DISTINCT_SITES = ("bottleneck", "dora", "lora", "sparse")
"""The adapter methods of which no two sites may be one module."""
_COMPLETIONS = ("complete", "demo_sums")
"""The methods of tasks in which a decoder continues a prompt."""
_READ_TWICE = 1 << 24
"""Size in bytes up to which a file of the user's own is read before torch is imported too."""


def check_trainable(spec: RunSpec) -> None:
    """Refuse a run that cannot be trained on this machine, before torch is imported for it.

    Raises:
        SparseadError: its parts do not fit each other, it names no data, there is no such device,
            or the hub does not give its backbone or its data.
    """
    check_sources(spec)
    check_buildable(spec)
    check_gpu(spec.device)
    check_reachable(list_sources(spec))


def check_buildable(spec: RunSpec) -> None:
    """Refuse a run without data, of code that is not there, or of parts that do not fit.

    Raises:
        ConfigError: the message says what to name or to choose instead.
        DataError: a file of the user's own is malformed, or has no such column.
    """
    check_data(spec)
    _check_own_code(spec)
    _check_files(spec.task)
    check_parts(spec)


def check_parts(spec: RunSpec) -> None:
    """Refuse an adapter, a backbone and a task that do not fit each other; no data is needed.

    Raises:
        ConfigError: the message says what to choose instead.
    """
    if spec.adapter.method == "peft" and find_spec("peft") is None:
        raise ConfigError(NO_PEFT)
    if spec.adapter.method == "peft" and spec.masked:
        check_tuner_pruned(spec.adapter.options)
    _check_head(spec)
    _check_lengths(spec)
    _check_sites(spec)


def _check_own_code(spec: RunSpec) -> None:
    """Refuse methods and metrics of the user's own that cannot be imported, or called so."""
    given = {
        "adapter": spec.adapter.options,
        "pruner": spec.pruner.options,
        "task": spec.task.arguments(),
    }
    for group, options in given.items():
        method = getattr(spec, group).method
        entry = import_object(f"{group}._target_", method) if "." in method else None
        if callable(entry):
            bind_options(group, entry, options)
    for metric in spec.task.options.get("metrics", ()):
        if "." in str(metric):
            import_object("task.metrics", str(metric))


def _check_files(task: TaskSpec) -> None:
    """Read the user's own files once before, to refuse rows and columns that cannot be used."""
    columns = task.options.get("columns", {}).values()
    if task.method == "text":
        columns = [*task.options["inputs"], task.options["label"], task.options.get("id")]
    elif task.method not in ("complete", "text_to_text"):
        return
    for file in map(Path, filter(None, (task.train, task.validation, task.test))):
        if file.stat().st_size <= _READ_TWICE:
            read_file(
                file,
                list(dict.fromkeys(each for each in columns if each and isinstance(each, str))),
            )


def _check_head(spec: RunSpec) -> None:
    """Refuse to generate texts with a backbone that cannot, or to train a head that it has."""
    entry = _find_entry(spec)
    if entry is None or spec.task.predicts != "texts":
        return
    continues = spec.task.method in _COMPLETIONS
    if not (entry.causal if continues else entry.cross_attention):
        head = NEXT_TOKEN if continues else SEQ2SEQ
        raise build_head_error(spec.backbone.name, entry.model_type, head)


def _check_lengths(spec: RunSpec) -> None:
    """Refuse texts that the backbone has no positions for."""
    name, positions = spec.backbone.name, count_positions(spec.backbone.architecture)
    options = spec.task.options
    written = {
        "task.target_length": options.get("target_length") or 0,
        "task.generation.max_new_tokens": options.get("generation", {}).get("max_new_tokens") or 0,
    }
    given = spec.task.max_length
    for key, tokens in {"task.max_length": given, **written}.items():
        check_tokens(key, tokens, name, positions)
    if spec.task.method in _COMPLETIONS:
        check_tokens("task.max_length", given, name, positions, after=max(written.values()))


def _check_sites(spec: RunSpec) -> None:
    """Refuse an adapter that has no place in the backbone."""
    method, entry = spec.adapter.method, _find_entry(spec)
    if "." in method or entry is None:
        return
    sites = spec.adapter.options.get("sites", ())
    if "sites" in spec.adapter.options and not sites:
        raise ConfigError("adapter.sites=[]: name at least one kind of site")
    if twice := [site for site in sites if sites.count(site) > 1]:
        raise ConfigError(f"adapter.sites: {twice[0]} is named twice; name it once")
    try:
        for site in (*_SITES.get(method, ()), *map(str, sites)):
            find_patterns(entry.model_type, site)
        for site in sites if method in ("dora", "lora") else ():
            check_linear(entry.model_type, site)
        if method in _AT_DISTINCT_SITES:
            check_distinct(entry.model_type, sites)
        _check_parts(spec, entry)
    except SiteError as error:
        raise build_insertion_error(spec.adapter.name, spec.backbone.name, error) from error


def _check_parts(spec: RunSpec, entry: Architecture) -> None:
    """Refuse an adapter that trains or changes what the architecture does not have.

    Raises:
        SiteError: the message says what it does not have.
    """
    method, architecture = spec.adapter.method, spec.backbone.architecture
    if method in ("mam", "prefix") and not entry.prefixes:
        raise build_prefix_error(entry.model_type)
    biased = entry.biases is None or any(architecture.get(key) for key in entry.biases)
    if method == "bitfit" and not biased:
        raise build_bias_error(entry.model_type)
    if method == "head" and spec.task.predicts == "texts":
        raise SiteError(NO_OWN_HEAD)


def _find_entry(spec: RunSpec) -> Architecture | None:
    """Return the entry of the backbone's architecture; not every run needs one."""
    return architectures().get(str(spec.backbone.architecture.get("model_type")))
