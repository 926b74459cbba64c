"""A finished run as a folder that AdapterHub's package `adapters` loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from safetensors.numpy import save

from sparsead.assembly.exported import new_folder, read_run, rebuild_skeleton, write_json
from sparsead.backbones.contract import Architecture, architectures
from sparsead.errors import ConfigError
from sparsead.exchange.adapterhub import (
    VERSION,
    HubAdapter,
    Tensors,
    find_names,
    fusion_to_adapterhub,
    to_adapterhub,
)
from sparsead.runs.defaults import OPTIONS
from sparsead.runs.record import RunRecord


def export_adapterhub(
    record: RunRecord, folder: Path, trust: Sequence[str] = (), backbone: Path | None = None
) -> None:
    """Write a run's adapter and head to a new folder that AdapterHub's `adapters` loads.

    `load_adapter(FOLDER)` of that package loads it, and of a fusion `load_adapter_setup(FOLDER)`.
    The tensors are dense, with zeros for the removed weights. Arguments and errors are those of
    `sparsead.assembly.exported.Exporter`.
    """
    from sparsead.assembly.weights import check_tensors  # imports torch

    stored, source = read_run(record, folder, trust, backbone)
    adapted = rebuild_skeleton(record, backbone)
    tensors, model = stored.tensors, adapted.model
    config = record.result["config"]
    method = config["adapter"]["method"]
    entry = architectures()[model.config.model_type]
    with _of_run(record):
        find_names(entry, method)
    check_tensors(record, adapted, tensors)
    options = {**OPTIONS["adapter"].get(method, {}), **config["adapter"]["options"]}
    described = {
        "model_type": model.config.model_type,
        "model_class": type(model).__name__,
        "model_name": config["backbone"]["hub"] or source or "",
        "hidden_size": model.config.hidden_size,
        "version": VERSION,
    }
    labels = cast(Mapping[str, int], model.config.label2id)
    head = {name: tensors[name] for name in adapted.head}
    own = {name: tensors[name] for name in (*adapted.frozen, *adapted.adapter)}
    width = int(model.config.hidden_size)
    with _of_run(record):
        if method == "fusion":
            fused, single = _to_fusion(entry, options["fusion"]["adapters"], own, width)
        else:
            name = f"{config['task']['name']}-{config['adapter']['name']}".replace(".", "_")
            single = [to_adapterhub(entry, method, options, own, name=name, width=width)]
    with new_folder(folder) as staging:
        if method == "fusion":
            _write_fusion(staging, fused, single, described)
            _write_head(staging / fused.name, head, described, labels)
        else:
            _write_adapter(staging, single[0], described, "adapter")
            _write_head(staging, head, described, labels)


def _to_fusion(
    entry: Architecture, sources: Sequence[Mapping[str, Any]], own: Tensors, width: int
) -> tuple[HubAdapter, list[HubAdapter]]:
    """Return a fusion and its adapters, which are numbered, in AdapterHub's form."""
    complete = [{**OPTIONS["adapter"]["pfeiffer"], **source} for source in sources]
    names = [f"source-{number}" for number in range(1, 1 + len(sources))]
    return fusion_to_adapterhub(entry, complete, own, names=names, width=width)


@contextmanager
def _of_run(record: RunRecord) -> Iterator[None]:
    """Name the run in an error."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{record.folder}: {error}") from error


def _write_fusion(
    folder: Path, fused: HubAdapter, single: Sequence[HubAdapter], described: Mapping[str, Any]
) -> None:
    names = [adapter.name for adapter in single]
    children = [{"type": "single", "children": [name]} for name in names]
    setup = {"type": "Fuse", "children": children}
    write_json(
        folder / "adapter_setup.json",
        {"adapter_setup": setup, "head_setup": None, "version": VERSION},
    )
    for adapter in single:
        _write_adapter(folder / adapter.name, adapter, described, "adapter")
    names_key = {"adapter_names": names}
    _write_adapter(folder / fused.name, fused, {**described, **names_key}, "adapter_fusion")


def _write_adapter(
    folder: Path, adapter: HubAdapter, described: Mapping[str, Any], kind: str
) -> None:
    config = {"config": adapter.config, "name": adapter.name, **described}
    write_json(folder / f"{kind}_config.json", config)
    file = {"adapter": "adapter", "adapter_fusion": "model_adapter_fusion"}[kind]
    _write_tensors(folder, file, f"pytorch_{file}", adapter.tensors)


def _write_head(
    folder: Path, head: Tensors, described: Mapping[str, Any], labels: Mapping[str, int]
) -> None:
    """Write the head under transformers' names, as the package does for its classes."""
    if not head:
        return
    label2id = {str(label): int(number) for label, number in labels.items()}
    own = {"config": None, "name": None, "label2id": label2id, "num_labels": len(label2id)}
    write_json(folder / "head_config.json", {**own, **described})
    _write_tensors(folder, "model_head", "pytorch_model_head", head)


def _write_tensors(folder: Path, safe: str, pickled: str, tensors: Tensors) -> None:
    """Write tensors twice: without the option `use_safetensors` the package reads only a .bin."""
    import torch

    (folder / f"{safe}.safetensors").write_bytes(save(dict(tensors), {"format": "pt"}))
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    content = BytesIO()
    torch.save(state, content)
    (folder / f"{pickled}.bin").write_bytes(content.getvalue())
