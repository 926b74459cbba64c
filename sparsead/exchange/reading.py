"""Reading the tensors of an adapter: of a finished run, or of a folder of adapters or peft."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsead.backbones.contract import architectures
from sparsead.config.values.adapters import find_prefix_scale
from sparsead.errors import ConfigError
from sparsead.errors.translation import translate_errors
from sparsead.exchange.adapterhub import from_adapterhub
from sparsead.exchange.peft import from_peft
from sparsead.exchange.shira import from_shira
from sparsead.pruning.storage import check_config, load_weights
from sparsead.runs.defaults import OPTIONS
from sparsead.runs.foreign import ForeignAdapter, is_foreign, read_foreign
from sparsead.runs.record import RunRecord

_FILES = {
    "adapters": ("adapter.safetensors", "pytorch_adapter.bin"),
    "peft": ("adapter_model.safetensors", "adapter_model.bin"),
}
_HEAD_FILES = _FILES | {"adapters": ("model_head.safetensors", "pytorch_model_head.bin")}
_PEFT_PREFIXES = ("base_model.model.", "base_model.")
"""What peft puts before a name of the model, with LoRA and with prefixes."""

Shapes = Mapping[str, tuple[int, ...]]
Found = dict[str, npt.NDArray[Any]]


def read_adapter(
    source: Path, options: Mapping[str, Any], model_type: str, wanted: Shapes
) -> Found:
    """Return an adapter's tensors under the names that they have in a model of this program.

    Args:
        source: folder of a finished run, or of an adapter that `adapters` or `peft` wrote.
        options: options of the adapter in the model.
        model_type: architecture of the model.
        wanted: names and shapes of the adapter's tensors in the model; of each, the result has a
            tensor of that shape.

    Raises:
        ConfigError: the source lacks a tensor, has one of another shape, or has one that the
            adapter in the model does not have.
        RecordError: the source is a run, and its weights cannot be read.
    """
    foreign = is_foreign(source)
    found = (
        _read_foreign(source, options, model_type, wanted)
        if foreign
        else _read_run(source, options)
    )
    for name, shape in wanted.items():
        if name not in found or found[name].shape != shape:
            raise ConfigError(
                f"has no {name} of shape {list(shape)}; it was trained in another backbone, or at "
                "other sites or layers"
            )
        if not np.isfinite(found[name]).all():
            raise ConfigError(f"its {name} has values that are not finite")
    if extra := [name for name in found if ".adapter." in name and name not in wanted]:
        raise ConfigError(f"it has {extra[0]}, for which this run's adapter has no place")
    return {name: found[name] for name in wanted}


def read_chosen(source: Path, matrices: Found) -> dict[str, tuple[npt.NDArray[Any], ...]]:
    """Return which weights of the backbone a folder of peft's SHiRA changes, and their values.

    Args:
        source: the folder.
        matrices: the matrices that may be changed, by the names of their layers.

    Returns:
        As of `from_shira`.

    Raises:
        ConfigError: it cannot be read, or changes something else.
    """
    return dict(from_shira(_read_tensors(read_foreign(source)), matrices))


def read_head(source: Path, wanted: Shapes, within_backbone: Collection[str] = ()) -> Found:
    """Return the tensors of the head that was trained with an adapter.

    Args:
        source: as for `read_adapter`.
        wanted: names and shapes of the head's tensors in the model.
        within_backbone: those that the backbone has too, such as BERT's pooler. Other libraries do
            not train them unless told to; where a folder has none, they are left out.

    Raises:
        ConfigError: the source has no head, or one of another form.
        RecordError: the source is a run, and its weights cannot be read.
    """
    if is_foreign(source):
        found = _read_tensors(read_foreign(source), _HEAD_FILES)
    else:
        found = load_run(RunRecord.read(source))
    head: Found = {}
    for name, shape in wanted.items():
        names = (name, *(f"{prefix}{name}" for prefix in _PEFT_PREFIXES))
        tensor = next((found[each] for each in names if each in found), None)
        if tensor is None and name in within_backbone:
            continue
        if tensor is None or tensor.shape != shape:
            raise ConfigError(
                f"has no head of this task: no {name} of shape {list(shape)}; leave out "
                "adapter.start_head"
            )
        head[name] = tensor
    return head


def _read_run(source: Path, options: Mapping[str, Any]) -> Found:
    record = RunRecord.read(source)
    trained = record.result["config"]["adapter"]["options"]
    scale = find_prefix_scale(trained) / find_prefix_scale(options)
    tensors = load_run(record)
    prefixes = (".adapter.key", ".adapter.value")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        return {n: scale * t if n.endswith(prefixes) else t for n, t in tensors.items()}


def load_run(record: RunRecord) -> Found:
    """Return the tensors of a run, which have to be those of its configuration.

    Raises:
        RecordError: they cannot be read, or are another run's.
    """
    stored = load_weights(record)
    check_config(record, stored)
    return dict(stored.tensors)


def _read_foreign(
    source: Path, options: Mapping[str, Any], model_type: str, wanted: Shapes
) -> Found:
    adapter = read_foreign(source)
    theirs = _read_tensors(adapter)
    options = {**OPTIONS["adapter"][adapter.method], **options}
    if adapter.library == "peft":
        return from_peft(adapter.method, theirs, wanted, scale=find_prefix_scale(options))
    if adapter.model_type != model_type:
        raise ConfigError(
            f"it was trained in another backbone, of the architecture {adapter.model_type}; this "
            f"run's is {model_type}"
        )
    entry = architectures()[model_type]
    return from_adapterhub(entry, adapter.method, options, theirs, wanted, name=adapter.name)


def _read_tensors(adapter: ForeignAdapter, files: Mapping[str, tuple[str, str]] = _FILES) -> Found:
    """Return the tensors of a folder as 32-bit floats, as which this program stores all adapters.

    Raises:
        ConfigError: they cannot be read, or not all of them are finite.
    """
    from sparsead.backbones.tensor_files import read_pickled  # imports torch

    safe, pickled = (adapter.folder / file for file in files[adapter.library])
    file, read = (safe, _read_safe) if safe.is_file() else (pickled, read_pickled)
    with translate_errors(
        lambda reason: ConfigError(f"its tensors cannot be read ({file.name}: {reason})")
    ):
        found = {name: _to_floats(tensor) for name, tensor in read(file).items()}
    for name, tensor in found.items():
        if not np.isfinite(tensor).all():
            raise ConfigError(f"its {name} has values that are not finite")
    return found


def _read_safe(file: Path) -> Mapping[str, Any]:
    from safetensors.torch import load_file  # numpy has no bfloat16

    return load_file(file)


def _to_floats(tensor: Any) -> npt.NDArray[np.float32]:
    try:
        if tensor.is_complex():
            raise TypeError("its imaginary part would be lost")
        floats: npt.NDArray[np.float32] = tensor.float().numpy()
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"a tensor is of {tensor.dtype}, {tensor.layout}") from error
    return floats
