"""A finished run as a folder that peft loads: LoRA, (IA)³, prefixes or SHiRA, head, tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from safetensors.numpy import save

from sparsead.assembly.exported import (
    base_model,
    new_folder,
    read_run,
    rebuild_skeleton,
    write_json,
)
from sparsead.backbones.contract import architectures
from sparsead.backbones.lengths import count_positions
from sparsead.errors import ConfigError, SourceError, warn
from sparsead.exchange.adapterhub import Tensors
from sparsead.exchange.peft import (
    build_ia3_config,
    build_peft_config,
    build_prefix_config,
    find_task_type,
    join_prefixes,
    list_heads,
    name_targets,
    shift_positions,
    to_factors,
    to_peft_key,
)
from sparsead.exchange.shira import build_shira_config, choose_rank, to_shira
from sparsead.runs.defaults import OPTIONS
from sparsead.runs.record import RunRecord

_WHOLE_MODELS = ("bitfit", "dora", "full", "head")
"""The methods of which only `--format transformers` exports the model."""
_BASE = "base"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model")


def export_peft(
    record: RunRecord, folder: Path, trust: Sequence[str] = (), backbone: Path | None = None
) -> None:
    """Write a run's adapter, head and tokenizer to a folder, as peft does.

    The folder contains `adapter_config.json` and `adapter_model.safetensors`. The tensors are
    dense, with zeros for the removed weights. A backbone in a folder is named by its absolute path,
    so that peft finds it from any place. peft's auto class builds the backbone with the number of
    classes in the backbone's own configuration; where the run has another, the folder has `base`, a
    copy of that configuration with the run's classes beside links to the backbone's files.
    Arguments and errors are those of `sparsead.assembly.exported.Exporter`.
    """
    from sparsead.assembly.trained import translate_rebuild_errors  # imports torch
    from sparsead.assembly.weights import check_tensors
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    config = record.result["config"]
    method = config["adapter"]["method"]
    if method not in ("ia3", "lora", "prefix", "sparse"):
        raise ConfigError(
            f"{record.folder}: has adapter={config['adapter']['name']}; only adapter=lora, "
            "adapter=ia3, adapter=prefix and adapter=sparse can be exported for peft; "
            f"{_suggest_format(method)}"
        )
    stored, source = read_run(record, folder, trust, backbone)
    weights = stored.tensors
    if method != "sparse":  # which weights those are is known when the backbone is loaded
        check_tensors(record, rebuild_skeleton(record, backbone), weights)
    base = base_model(config["backbone"] | {"path": source})
    with translate_rebuild_errors(record):
        if method == "lora":
            described = build_peft_config(config, list(weights), base)
            tensors = {to_peft_key(name): tensor for name, tensor in weights.items()}
        elif method == "ia3":
            described, tensors = build_ia3_config(weights, base), to_factors(weights)
        else:
            describe = _describe_prefixes if method == "prefix" else _describe_chosen
            described, tensors = describe(record, backbone, weights)
            described["base_model_name_or_path"] = base
    with translate_rebuild_errors(record), new_folder(folder) as staging:
        if _write_labelled_base(record, backbone, weights, staging, described["task_type"]):
            described["base_model_name_or_path"] = str(folder.absolute() / _BASE)
        elif record.backbone_commit and base == config["backbone"]["hub"]:
            described["revision"] = record.backbone_commit
        write_json(staging / "adapter_config.json", described)
        (staging / "adapter_model.safetensors").write_bytes(save(tensors, {"format": "pt"}))


def _suggest_format(method: str) -> str:
    if method == "peft":  # its weights are not merged, and `adapters` has other tuners
        return "no other format takes a tuner of peft; sparsead predict and sparsead.load do"
    return f"try --format {'transformers' if method in _WHOLE_MODELS else 'adapters'}"


def _describe_chosen(
    record: RunRecord, backbone: Path | None, weights: Tensors
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return peft's configuration and tensors, those of SHiRA, of a run with adapter=sparse.

    Raises:
        ConfigError: more weights of a layer train than SHiRA can have.
    """
    from torch import from_numpy

    from sparsead.adapters.chosen import PLACES, VALUES, unpack_places
    from sparsead.assembly.build import build_task
    from sparsead.assembly.trained import recorded_spec
    from sparsead.backbones.loading import load_backbone

    spec = recorded_spec(record, backbone)
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, spec.seeds.init)
    suffix = f".adapter.{VALUES}"
    layers = [name.removesuffix(suffix) for name in weights if name.endswith(suffix)]
    base = {layer: model.get_parameter(f"{layer}.weight").detach().numpy() for layer in layers}
    places = {
        layer: unpack_places(from_numpy(weights[f"{layer}.adapter.{PLACES}"]), base[layer].size)
        for layer in layers
    }
    counts = {layer: len(found) for layer, found in places.items()}
    r = choose_rank(counts, {layer: matrix.shape for layer, matrix in base.items()})
    heads = list_heads(list(weights))
    described = build_shira_config(r, name_targets(layers), heads, find_task_type(layers, heads))
    tensors = {
        f"base_model.model.{layer}.{name}": tensor
        for layer in layers
        for name, tensor in to_shira(
            weights[f"{layer}{suffix}"], places[layer].numpy(), base[layer], r
        ).items()
    }
    head = {to_peft_key(n): tensor for n, tensor in weights.items() if ".adapter." not in n}
    return described, tensors | head


def _describe_prefixes(
    record: RunRecord, backbone: Path | None, weights: Tensors
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return peft's configuration and tensors of a run's prefixes.

    Raises:
        ConfigError: peft's prefixes do not compute the same in the run's model.
    """
    from sparsead.assembly.build import build_task
    from sparsead.assembly.trained import recorded_spec
    from sparsead.backbones.loading import load_backbone
    from sparsead.backbones.sites import site_modules

    spec = recorded_spec(record, backbone)
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, spec.seeds.init)
    entry = architectures()[model.config.model_type]
    if not entry.peft_prefixes or "SequenceClassification" not in type(model).__name__:
        raise ConfigError(
            f"{record.folder}: peft's prefixes compute something else in {type(model).__name__}; "
            "try --format adapters"
        )
    ((name, positions),) = site_modules(model, "positions").items()
    prefixes = {n: tensor for n, tensor in weights.items() if ".adapter." in n}
    options = {**OPTIONS["adapter"]["prefix"], **spec.adapter.options}
    length, width = next(iter(prefixes.values())).shape
    embedding = cast(Any, positions).weight.detach().numpy()
    most = count_positions(model.config.to_dict()) or len(embedding)
    if spec.task.max_length + length > most:
        warn(
            f"peft's prefixes take up {length} of the {most} positions, so that longer "
            f"texts than of {most - length} tokens cannot be read there"
        )
    described = build_prefix_config(
        list(weights),
        name,
        length=length,
        layers=len(prefixes) // 2,
        heads=model.config.num_attention_heads,
        width=width,
    )
    head = {f"base_model.{n}": tensor for n, tensor in weights.items() if n not in prefixes}
    return described, head | {
        f"base_model.{name}.weight": shift_positions(embedding, length),
        "prompt_embeddings": join_prefixes(prefixes, options["prefix"].get("scale", 1.0)),
    }


def _write_labelled_base(
    record: RunRecord, backbone: Path | None, weights: Tensors, folder: Path, task_type: str | None
) -> bool:
    """Write the tokenizer and, if peft's auto class needs it, a configuration with the classes.

    Returns:
        Whether the folder now has `base`, the backbone with the run's number of classes.
    """
    from sparsead.assembly.build import build_task
    from sparsead.assembly.trained import recorded_spec
    from sparsead.backbones.configs import folder_config
    from sparsead.backbones.loading import load_backbone

    spec = recorded_spec(record, backbone)
    try:
        loaded = load_backbone(spec.backbone)
    except SourceError as error:
        warn(f"{error}; the folder has no tokenizer")
        return False
    if _has_tokenizer(loaded.folder):
        loaded.tokenizer.save_pretrained(folder)
    if task_type != "SEQ_CLS" or loaded.folder is None:
        return False
    classes = len([tensor for n, tensor in weights.items() if n.endswith(".weight")][-1])
    config = folder_config(loaded.folder, {})
    if config.num_labels == classes:
        return False
    labels = build_task(spec).head_options
    folder_config(loaded.folder, {"num_labels": classes, **labels}).save_pretrained(folder / _BASE)
    for file in loaded.folder.iterdir():
        if file.name != "config.json":
            (folder / _BASE / file.name).symlink_to(file.absolute())
    return True


def _has_tokenizer(folder: Path | None) -> bool:
    """Tell whether the tokenizer is a real one: for a folder without one, transformers makes it up.

    Backbones with random weights, which have no folder, have one that the project builds.
    """
    return folder is None or any((folder / file).is_file() for file in _TOKENIZERS)
