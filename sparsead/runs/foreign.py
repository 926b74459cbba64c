"""Folders of adapters that another library wrote: AdapterHub's `adapters`, or `peft`.

Their configuration is read here, without torch; `sparsead.exchange.reading` reads their tensors.
A folder whose adapter would compute something else in this program is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import FiniteFloat, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from sparsead.errors import ConfigError
from sparsead.runs.checked import check_type, parse_file
from sparsead.runs.files import file_digest

CONFIG = "adapter_config.json"

_FILES = ("*.json", "*.safetensors", "*.bin")
_AS_HERE: Mapping[str, Any] = {
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "phm_layer": False,
    "use_gating": False,
    "inv_adapter": None,
    "leave_out": [],
}
"""Keys of the package `adapters` with the only values that this program has too."""
_LORA_AS_HERE: Mapping[str, Any] = {
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "lora_bias": False,
    "composition_mode": "add",
    "use_gating": False,
    "trainable_token_indices": None,
    "layer_replication": None,
    "target_parameters": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "monteclora_config": None,
    "vera_d": None,
    "vera_b": None,
}
"""Keys of LoRA in peft and in `adapters`, as `_AS_HERE`."""
_PREFIX_AS_HERE: Mapping[str, Any] = {"use_gating": False, "leave_out": []}
"""Keys of prefixes in `adapters`, as `_AS_HERE`."""
_LORA_INITS = (True, False, None, "gaussian", "orthogonal")
"""peft's initial values of LoRA beside which the backbone keeps its weights, and all of it trains.

With others, such as pissa, A and B belong to a backbone from which their product was subtracted.
"""


class _Bottleneck(TypedDict):
    mh_adapter: bool
    output_adapter: bool
    reduction_factor: PositiveFloat
    non_linearity: str
    scaling: NotRequired[FiniteFloat]
    is_parallel: NotRequired[bool]
    ln_before: NotRequired[bool]
    ln_after: NotRequired[bool]
    original_ln_before: NotRequired[bool]


class _Flat(TypedDict):
    flat: Literal[True]
    prefix_length: PositiveInt


class _Lora(TypedDict):
    r: PositiveInt
    alpha: FiniteFloat


class _Hub(TypedDict):
    config: dict[str, Any]
    hidden_size: PositiveInt
    model_type: str
    name: str


class _PeftLora(TypedDict):
    r: PositiveInt
    lora_alpha: FiniteFloat


class _PeftPrefix(TypedDict):
    num_virtual_tokens: PositiveInt
    prefix_projection: Literal[False]


class _PeftShira(TypedDict):
    r: PositiveInt
    fan_in_fan_out: NotRequired[Literal[False]]


class _PeftIA3(TypedDict):
    fan_in_fan_out: NotRequired[Literal[False]]


@dataclass(frozen=True)
class ForeignAdapter:
    """The description of an adapter that another library wrote.

    Attributes:
        folder: where it is.
        library: which library.
        method: the method of `ADAPTERS` that computes the same.
        options: those of the method's options that decide what it computes.
        name: its name in the package `adapters`; empty in peft.
        model_type: the architecture of its backbone; None where the folder does not say it.
    """

    folder: Path
    library: Literal["adapters", "peft"]
    method: str
    options: Mapping[str, Any]
    name: str = ""
    model_type: str | None = None


def is_foreign(folder: Path) -> bool:
    """Tell whether a path is the folder of an adapter that another library wrote."""
    return (folder / CONFIG).is_file()


def read_foreign(folder: Path) -> ForeignAdapter:
    """Return the description of an adapter that another library wrote.

    Raises:
        ConfigError: it cannot be read, or computes something that this program has no method for.
    """
    file = folder / CONFIG
    try:
        values = check_type(parse_file(file), dict[str, Any])
        return _from_peft(folder, values) if "peft_type" in values else _from_hub(folder, values)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{file}: is not an adapter of adapters or peft ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def digest_foreign(folder: Path) -> list[str]:
    """Return the SHA-256 of each file that decides what such an adapter computes."""
    files = [file for kind in _FILES for file in sorted(folder.glob(kind))]
    return [file_digest(file) for file in files if file.is_file()]


def _from_peft(folder: Path, values: Mapping[str, Any]) -> ForeignAdapter:
    if values["peft_type"] == "LORA":
        lora = check_type(values, _PeftLora)
        _check_as_here(values, _LORA_AS_HERE)
        _check_lora_init(values.get("init_lora_weights"))
        options = {"bottleneck": lora["r"], "alpha": lora["lora_alpha"]}
        return ForeignAdapter(folder, "peft", "lora", options)
    if values["peft_type"] == "PREFIX_TUNING":
        prefix = check_type(values, _PeftPrefix)
        length = {"bottleneck": prefix["num_virtual_tokens"]}
        return ForeignAdapter(folder, "peft", "prefix", length)
    if values["peft_type"] == "SHIRA":
        check_type(values, _PeftShira)
        return ForeignAdapter(folder, "peft", "sparse", {})
    if values["peft_type"] == "IA3":
        check_type(values, _PeftIA3)
        return ForeignAdapter(folder, "peft", "ia3", {})
    raise ConfigError(f"peft_type={values['peft_type']}: must be IA3, LORA, PREFIX_TUNING or SHIRA")


def _from_hub(folder: Path, values: Mapping[str, Any]) -> ForeignAdapter:
    hub = check_type(values, _Hub)
    method, options = _read_method(hub["config"], hub["hidden_size"])
    name, model_type = hub["name"], hub["model_type"]
    return ForeignAdapter(folder, "adapters", method, options, name, model_type)


def _read_method(config: Mapping[str, Any], width: int) -> tuple[str, dict[str, Any]]:
    architecture = config.get("architecture")
    if architecture == "lora":
        lora = check_type(config, _Lora)
        _check_as_here(config, _LORA_AS_HERE)
        return "lora", {"bottleneck": lora["r"], "alpha": lora["alpha"]}
    if architecture == "prefix_tuning":
        prefix = check_type(config, _Flat)
        _check_as_here(config, _PREFIX_AS_HERE)
        return "prefix", {"bottleneck": prefix["prefix_length"]}
    if architecture == "union":
        parts = check_type(config.get("configs"), list[dict[str, Any]])
        read = dict(_read_method(part, width) for part in parts)
        if {*read} != {"prefix", "parallel"}:
            raise ConfigError(f"config.configs: are {' and '.join(read)}, not prefix and parallel")
        return "mam", {**read["parallel"], "length": read["prefix"]["bottleneck"]}
    if architecture is not None:
        raise ConfigError(f"config.architecture={architecture}: this program has no such adapter")
    return _read_bottleneck(config, width)


def _read_bottleneck(config: Mapping[str, Any], width: int) -> tuple[str, dict[str, Any]]:
    read = check_type(config, _Bottleneck)
    _check_as_here(config, _AS_HERE)
    at_both, before = read["mh_adapter"], read.get("original_ln_before", False)
    if at_both and before:
        raise ConfigError("config.original_ln_before=True: must be False where mh_adapter is True")
    norms = {"before": read.get("ln_before"), "after": read.get("ln_after")}
    options = {
        "bottleneck": max(1, int(width // read["reduction_factor"])),
        "activation": read["non_linearity"],
        "scale": read.get("scaling", 1.0),
        "layer_norm": next((place for place, there in norms.items() if there), None),
    }
    if read.get("is_parallel"):
        return "parallel", options
    return "pfeiffer" if before else "bottleneck", options


def _check_as_here(config: Mapping[str, Any], as_here: Mapping[str, Any]) -> None:
    for key, value in as_here.items():
        found = config.get(key)
        if found not in (value, None) and not (not found and not value):
            raise ConfigError(f"{key}={found}: this program only has {value}")


def _check_lora_init(found: object) -> None:
    if found not in _LORA_INITS:
        raise ConfigError(
            f"init_lora_weights={found}: this program only has LoRA on the backbone as it was, of "
            "True, False, gaussian or orthogonal; save_pretrained of peft converts some others, "
            "given path_initial_model_for_weight_conversion"
        )
