"""Refuse a run that certainly cannot be assembled, before torch is imported for it.

What is refused here is refused where the model is assembled too, in the same words.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sparsead.backbones.contract import architectures
from sparsead.backbones.lengths import check_tokens, count_positions
from sparsead.backbones.places import SiteError, cannot_be_inserted, find_patterns
from sparsead.config.groups import TaskSpec
from sparsead.config.registry import import_object
from sparsead.config.run import RunSpec
from sparsead.config.values.adapters import NO_PEFT
from sparsead.errors import ConfigError
from sparsead.runs.options import check_data
from sparsead.tasks.files import read_file

_SITES = {
    "mam": ("attention", "ffn_input", "ffn_output"),
    "parallel": ("ffn_input", "ffn_output"),
    "prefix": ("attention",),
}
"""By adapter method, the sites that it goes to where none of its options names them."""

_READ_TWICE = 1 << 24
"""Size in bytes up to which a file of the user's own is read before torch is imported too."""


def check_buildable(spec: RunSpec) -> None:
    """Refuse a run without data, of code that is not there, or of parts that do not fit.

    Raises:
        ConfigError: the message says what to name or to choose instead.
        DataError: a file of the user's own is malformed, or has no such column.
    """
    check_data(spec)
    if spec.adapter.method == "peft" and find_spec("peft") is None:
        raise ConfigError(NO_PEFT)
    _check_own_code(spec)
    _check_files(spec.task)
    _check_lengths(spec)
    _check_sites(spec)


def _check_own_code(spec: RunSpec) -> None:
    """Refuse methods and metrics of the user's own that cannot be imported."""
    for group in ("adapter", "pruner", "task"):
        method = getattr(spec, group).method
        if "." in method:
            import_object(f"{group}._target_", method)
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
            read_file(file, [column for column in dict.fromkeys(columns) if column])


def _check_lengths(spec: RunSpec) -> None:
    positions = count_positions(spec.backbone.architecture)
    check_tokens("task.max_length", spec.task.max_length, spec.backbone.name, positions)


def _check_sites(spec: RunSpec) -> None:
    method = spec.adapter.method
    model_type = str(spec.backbone.architecture.get("model_type"))
    if "." in method or model_type not in architectures():
        return  # not every method needs an architecture whose sites are known
    for site in (*_SITES.get(method, ()), *spec.adapter.options.get("sites", ())):
        try:
            find_patterns(model_type, str(site))
        except SiteError as error:
            raise cannot_be_inserted(spec.adapter.name, spec.backbone.name, error) from error
