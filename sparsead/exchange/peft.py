"""peft's format: the names of tensors and the configuration of LoRA, (IA)³ and prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, PositiveInt
from typing_extensions import TypedDict

from sparsead.backbones.contract import architectures
from sparsead.errors import ConfigError, RecordError
from sparsead.exchange.parts import check_parts
from sparsead.runs.checked import check_type

_LORA_A = ".adapter.lora_A.weight"
_CHANGE, _FACTOR = ".adapter.change", ".ia3_l"
_OF_LAYERS = (".lora_A.weight", ".lora_B.weight", _FACTOR)
_PREFIXES = "prompt_embeddings"
_POSITIONS = ("position_embeddings.weight", "wpe.weight")


class _LoraOptions(TypedDict):
    bottleneck: PositiveInt
    alpha: FiniteFloat
    dropout: FiniteFloat


def build_peft_config(
    config: Mapping[str, Any], names: Sequence[str], base: str | None
) -> dict[str, Any]:
    """Return the values of peft's LoraConfig for a run; all others keep peft's defaults.

    Args:
        config: the configuration in the run's record.
        names: names of the tensors in the run's weights file.
        base: folder or hub name of the base model; None if its weights are random.

    Raises:
        RecordError: an option of LoRA is missing or of another type.
    """
    heads, modules = list_heads(names), _lora_modules(names)
    try:
        options = check_type(config["adapter"]["options"], _LoraOptions)
    except ValueError as error:
        raise RecordError(f"adapter.options: {error}") from error
    return {
        "peft_type": "LORA",
        "task_type": find_task_type(modules, heads),
        "base_model_name_or_path": base,
        "r": options["bottleneck"],
        "lora_alpha": options["alpha"],
        "lora_dropout": options["dropout"],
        "target_modules": name_targets(modules),
        "modules_to_save": heads or None,
        "bias": "none",
        "inference_mode": True,
    }


def to_peft_key(name: str) -> str:
    """Return peft's name for a tensor of the run's weights file.

    `bert.….query.adapter.lora_A.weight` becomes `base_model.model.bert.….query.lora_A.weight`; the
    names of the head's tensors only get the prefix.
    """
    renamed = name.replace(".adapter.lora_", ".lora_").replace(_CHANGE, _FACTOR)
    return f"base_model.model.{renamed}"


def build_ia3_config(tensors: Mapping[str, npt.NDArray[Any]], base: str | None) -> dict[str, Any]:
    """Return the values of peft's IA3Config for a run; all others keep peft's defaults.

    Args:
        tensors: those of the run's weights file, by name.
        base: as for `build_peft_config`.
    """
    shapes = {n.removesuffix(_CHANGE): t.shape for n, t in tensors.items() if n.endswith(_CHANGE)}
    heads = list_heads(list(tensors))
    return {
        "peft_type": "IA3",
        "task_type": find_task_type(list(shapes), heads),
        "base_model_name_or_path": base,
        "target_modules": name_targets(shapes),
        "feedforward_modules": name_targets(n for n, shape in shapes.items() if shape[0] == 1),
        "modules_to_save": heads or None,
        "inference_mode": True,
    }


def to_factors(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a run with (IA)³ as peft has them: the factors, and the head's."""
    one = np.float32(1)
    return {to_peft_key(n): t + one if n.endswith(_CHANGE) else t for n, t in tensors.items()}


def build_prefix_config(
    names: Sequence[str], positions: str, *, length: int, layers: int, heads: int, width: int
) -> dict[str, Any]:
    """Return the values of peft's PrefixTuningConfig for a run; all others keep peft's defaults.

    Args:
        names: names of the tensors in the run's weights file.
        positions: name of the module that embeds the positions; it is stored like a head.
        length: number of keys and of values of a prefix.
        layers: number of the backbone's layers.
        heads: number of heads of keys.
        width: summed width of these heads.
    """
    modules = [positions, *list_heads(names)]
    return {
        "peft_type": "PREFIX_TUNING",
        "task_type": "SEQ_CLS",
        "num_virtual_tokens": length,
        "num_layers": layers,
        "num_attention_heads": heads,
        "token_dim": width,
        "encoder_hidden_size": width,
        "num_transformer_submodules": 1,
        "prefix_projection": False,
        "modules_to_save": [module.rpartition(".")[2] for module in modules],
        "inference_mode": True,
    }


def join_prefixes(tensors: Mapping[str, npt.NDArray[Any]], scale: float) -> npt.NDArray[np.float32]:
    """Return the prefixes as peft stores them, (l, layers · 2 · width): P, not P / scale.

    Args:
        tensors: the prefixes' tensors by name, each layer's keys before its values, (l, width).
        scale: the option `adapter.prefix.scale`.
    """
    joined = scale * np.concatenate(list(tensors.values()), axis=1)
    return joined.astype(np.float32)


def shift_positions(embedding: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Return the embedding of positions for a model in which prefixes take up the first ones.

    In peft a prefix of length l moves every token on by l positions; in this program it does not.
    Row i + l of the result is therefore row i of the backbone.

    Args:
        embedding: the backbone's, (positions, width).
        length: l.
    """
    shifted = embedding.copy()
    shifted[length:] = embedding[:-length]
    return shifted


def from_peft(
    method: str,
    theirs: Mapping[str, npt.NDArray[Any]],
    wanted: Mapping[str, tuple[int, ...]],
    *,
    scale: float,
) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of an adapter in peft's format under the names of the model.

    Args:
        method: "lora", "ia3" or "prefix".
        theirs: the folder's tensors.
        wanted: names and shapes of the adapter's tensors in the model.
        scale: the option `adapter.prefix.scale` of the model.

    Raises:
        ConfigError: the folder has a tensor that has no place here, or its prefixes are of another
            size or compute something else here.
    """
    if method in ("lora", "ia3"):
        named = {name: to_peft_key(name) for name in wanted}
        for key in theirs:
            if key.endswith(_OF_LAYERS) and key not in named.values():
                raise ConfigError(f"it has {key}, for which this run's adapter has no place")
        check_parts(theirs, [*named.values()])
        found = {name: theirs[key] for name, key in named.items() if key in theirs}
        if method == "lora":
            return found
        return {name: factors - np.float32(1) for name, factors in found.items()}
    return _split_prefixes(theirs, wanted, scale)


def _split_prefixes(
    theirs: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, tuple[int, ...]], scale: float
) -> dict[str, npt.NDArray[Any]]:
    """Return the keys and values of each layer, (l, width), which are P / scale in the model."""
    positions = [name for name in theirs if name.endswith(_POSITIONS)]
    if not positions:
        raise ConfigError(
            "its prefixes take up the first positions, as peft's do, so that they would compute "
            "something else here; only prefixes that this program exported can be read"
        )
    check_parts(theirs, [*positions, _PREFIXES])
    length, width = next(iter(wanted.values()))
    prompt = theirs.get(_PREFIXES, np.zeros((0, 0)))
    if prompt.shape != (length, len(wanted) * width):
        raise ConfigError(
            f"its {_PREFIXES} have the shape {list(prompt.shape)}, and this run's prefixes "
            f"{[length, len(wanted) * width]}"
        )
    parts = np.split(prompt / np.float32(scale), len(wanted), axis=1)
    return dict(zip(wanted, parts, strict=True))


def _lora_modules(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(_LORA_A) for name in names if name.endswith(_LORA_A)]


def name_targets(modules: Iterable[str]) -> list[str]:
    """Return the names of the modules with an adapter, starting at the layer's index.

    peft matches names by suffix. Shorter names would match other modules too: the heads of RoBERTa
    and BART contain an `out_proj`, and `attention.output.dense` ends in `output.dense`.
    """
    return sorted({re.sub(r"^.*\.(?=\d+\.)", "", module) for module in modules})


def list_heads(names: Sequence[str]) -> list[str]:
    """Return the modules that are trained in full: the head, and a pooler within the backbone."""
    backbone = {name.split(".")[0] for name in names if ".adapter." in name}
    paths = [name.split(".") for name in names if ".adapter." not in name]
    return sorted({".".join(path[: 1 + (path[0] in backbone)]) for path in paths})


def find_task_type(modules: Sequence[str], heads: Sequence[str]) -> str | None:
    """Return peft's task type, or None if it cannot be inferred from the names of the heads.

    A decoder without a head of the run's own gives the next token, by weights of the backbone. The
    architecture is inferred from the modules with an adapter, because the one in conf/ need not be
    that of a backbone loaded from a folder.
    """
    fitting = [
        entry for entry in architectures().values() if all(entry.has(name) for name in modules)
    ]
    if not heads and fitting and all(entry.causal for entry in fitting):
        return "CAUSAL_LM"
    said = {entry.task_types.get(head) for entry in fitting for head in heads} - {None}
    return said.pop() if len(said) == 1 else None
