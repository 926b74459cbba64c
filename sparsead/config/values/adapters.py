"""The values that options of adapters may have."""

from __future__ import annotations

import math
import re
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsead.config.choices import list_choices
from sparsead.config.schema import check_minimum
from sparsead.config.values.contract import Options
from sparsead.errors import ConfigError, unknown

INITS = ("bert", "zero_up")
LAYER_NORMS = ("before", "after")
TRAINING = ("frozen", "trained")
BOTTLENECK_SITES = (
    *("attention_output", "ffn_output", "ffn_norm", "query", "key", "value"),
    *("attention_projection", "ffn_input", "ffn_projection"),
)
"""The kinds of site, fields of `sparsead.backbones.contract.Sites`, that bottlenecks go to."""
FUSED = (None, "qk")
ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python"),
    *("gelu_python_tanh", "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear"),
    *("mish", "prelu", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu"),
    *("sqrtsoftplus", "swish", "tanh", "xielu"),
)
"""The names of transformers' activations; a test compares them."""

_BOTTLENECK = re.compile(r"0{0,9}[1-9][0-9]{0,8}")
"""A bottleneck in a text, of few enough digits for Python to read."""
_SMALLEST_FACTOR, _LARGEST_FACTOR = 1e-6, 1e6
"""Limits of a factor's absolute value: far beyond them, numbers in fp32 become 0 or infinite."""

TUNERS = (
    *("boft", "c3a", "delora", "fourierft", "gralora", "hira", "hra", "ia3", "ln_tuning", "loha"),
    *("lokr", "miss", "oft", "randlora", "road", "shira"),
)
"""The tuners of which no key of the configuration makes peft import a module or load a file.

That has to be so, because a record's configuration may come from someone else. peft's LoRA does
both; `adapter=lora` and `adapter=dora` are the same methods.
"""
FACTORS = ("boft_s", "ia3_l", "ln_tuning_", "road_alpha")
"""Parts of the names of peft's weights that multiply what a module puts out, and start at one.

They are not prunable: a removed weight is zero, which would switch off a part of the backbone
instead of a part of the adapter. A test finds them among all `TUNERS`.
"""
_FACTORS_ALONE = ("ia3", "ln_tuning")
"""The tuners of which no other weights train."""
_REFUSED_OF_PEFT = {
    "modules_to_save": "copies of whole modules would count as the adapter, and be pruned",
    "inference_mode": "nothing of the adapter would train",
}
"""Keys of peft's configurations that must be left out, and what they would do."""
_FACTORS_OF_PEFT = ("alpha", "scaling", "lambda")
"""Ends of the keys of peft's configurations by which an adapter's output is multiplied."""
NO_PEFT = "adapter=peft: needs peft; pip install 'sparsead[peft]'"


def check_init(options: Options) -> None:
    """Check how an adapter is initialised."""
    if options["init"] not in INITS:
        raise ConfigError(unknown("adapter.init", options["init"], INITS))


def check_activation(options: Options) -> None:
    """Check the activation between the two layers of a bottleneck."""
    if options["activation"] not in ACTIVATIONS:
        raise ConfigError(unknown("adapter.activation", options["activation"], ACTIVATIONS))


def check_dropout(options: Options) -> None:
    """Check an adapter's dropout probability."""
    if not 0 <= options["dropout"] < 1:
        raise ConfigError(f"adapter.dropout={options['dropout']:g}: must be at least 0 and below 1")


def check_scale(options: Options) -> None:
    """Check the factor on a bottleneck's output."""
    _check_factor("adapter.scale", options["scale"])


def check_alpha(options: Options) -> None:
    """Check the numerator of the factor on a low-rank change, alpha / r."""
    _check_factor("adapter.alpha", options["alpha"])


def _check_factor(key: str, factor: float) -> None:
    """Refuse a factor with which an adapter has no effect, or no finite one."""
    if factor == 0:
        raise ConfigError(
            f"{key}=0: must not be 0, because the adapter would have no effect; to train the head "
            "alone, choose adapter=head"
        )
    if not _SMALLEST_FACTOR <= abs(factor) <= _LARGEST_FACTOR:
        raise ConfigError(
            f"{key}={factor:g}: its absolute value must be at least {_SMALLEST_FACTOR:g} and at "
            f"most {_LARGEST_FACTOR:g}"
        )


def check_layer_norm(options: Options) -> None:
    """Check the place of a bottleneck's own LayerNorm."""
    layer_norm = options["layer_norm"]
    if layer_norm is not None and layer_norm not in LAYER_NORMS:
        raise ConfigError(unknown("adapter.layer_norm", layer_norm, ("null", *LAYER_NORMS)))


def check_trained_parts(options: Options) -> None:
    """Check whether the head and the backbone's LayerNorms train."""
    for key in ("backbone_norms", "head"):
        if options[key] not in TRAINING:
            raise ConfigError(unknown(f"adapter.{key}", options[key], TRAINING))


def check_sites(options: Options) -> None:
    """Check the names of the kinds of site that bottlenecks go to."""
    for site in options["sites"]:
        if site not in BOTTLENECK_SITES:
            raise ConfigError(unknown("adapter.sites", site, BOTTLENECK_SITES))


def check_length(options: Options) -> None:
    """Check the length of the prefixes of the adapter `mam`."""
    if options["length"] is not None:
        check_minimum("adapter.length", options["length"], 1)


def check_prefix(options: Options) -> None:
    """Check the options of prefixes."""
    find_prefix_scale(options)


def find_prefix_scale(options: Options) -> float:
    """Return the factor of prefixes; 1 for an adapter without them.

    Raises:
        ConfigError: it is not a number above 0.
    """
    prefix = options.get("prefix", {})
    if not isinstance(prefix, Mapping):
        raise ConfigError(f"adapter.prefix={reprlib.repr(prefix)}: must be a mapping")
    scale = prefix.get("scale", 1.0)
    if type(scale) not in (int, float) or not 0 < scale <= sys.float_info.max:
        shown = reprlib.repr(scale)
        raise ConfigError(f"adapter.prefix.scale={shown}: must be a number above 0")
    return float(scale)


def check_fused(options: Options) -> None:
    """Check what of a fusion is pruned."""
    prune = options["fusion"].get("prune")
    if prune not in FUSED:
        raise ConfigError(unknown("adapter.fusion.prune", prune, ("null", "qk")))


def check_sources(options: Options) -> None:
    """Check that there are adapters to combine."""
    if not options["fusion"].get("adapters"):
        raise ConfigError(
            "adapter.fusion.sources=[]: name finished runs of adapter=pfeiffer, "
            "or with adapter.fusion.tasks the tasks to train it on first"
        )


def check_budget(options: Options) -> None:
    """Check how many of the backbone's own weights train.

    Whether there is an adapter of that name, and how many weights it has, depends on the backbone.
    """
    budget = options["budget"]
    if not isinstance(budget, str):
        if not 0 < budget <= 1:
            raise ConfigError(f"adapter.budget={budget:g}: must be above 0 and at most 1")
        return
    name, _, bottleneck = budget.partition(":")
    if not name.isidentifier() or not _BOTTLENECK.fullmatch(bottleneck):
        raise ConfigError(
            f"adapter.budget={budget}: must be a share such as 0.001, or an adapter and its "
            "bottleneck such as houlsby:64"
        )
    choices = list_choices("adapter")
    if name not in choices:
        raise ConfigError(f"adapter.budget={budget}: {unknown('adapter', name, choices)}")


def check_tuner(options: Options) -> None:
    """Check a tuner of peft, but not yet that the installed version has it and takes its keys.

    Raises:
        ConfigError: there is no such tuner, or with a key of its configuration something else
            would train than the adapter, or the adapter could not change what the model computes.
    """
    if options["type"] not in TUNERS:
        raise ConfigError(unknown("adapter.type", options["type"], TUNERS))
    config = options["config"]
    for key, effect in _REFUSED_OF_PEFT.items():
        if config.get(key):
            raise ConfigError(f"adapter.config.{key}={config[key]}: {effect}; leave it out")
    for key, value in config.items():
        for each in value.values() if isinstance(value, Mapping) else (value,):
            _check_number_of_peft(key, each)


def _check_number_of_peft(key: str, value: Any) -> None:
    """Check a number of peft's configuration, or one of a pattern such as `alpha_pattern`."""
    if not isinstance(value, int | float):
        return  # peft refuses it
    if key.endswith("dropout") and not 0 <= value < 1:
        raise ConfigError(f"adapter.config.{key}={value}: must be at least 0, and below 1")
    if key.removesuffix("_pattern").endswith(_FACTORS_OF_PEFT) and not (
        value and math.isfinite(value)
    ):
        raise ConfigError(f"adapter.config.{key}={value}: must be a finite number other than 0")


def check_tuner_pruned(options: Options) -> None:
    """Refuse to prune a tuner of peft that has nothing but factors.

    Args:
        options: the options of a tuner of which weights are to be removed.

    Raises:
        ConfigError: all its weights are among `FACTORS`.
    """
    if options["type"] in _FACTORS_ALONE:
        pruned = "adapter=ia3, whose weights are the differences from one, or "
        raise ConfigError(
            f"adapter.type={options['type']}: its weights are factors that start at one, so that "
            "pruning them would switch off parts of the backbone; take "
            f"{pruned if options['type'] == 'ia3' else ''}pruner=none"
        )


BOTTLENECK = (check_activation, check_scale, check_dropout, check_layer_norm, check_init)
LOW_RANK = (check_alpha, check_dropout, check_init)

CHECKS: Mapping[str, Sequence[Callable[[Options], None]]] = {
    "bottleneck": (*BOTTLENECK, check_trained_parts, check_sites),
    "dora": LOW_RANK,
    "fusion": (check_fused,),
    "ia3": (check_init,),
    "lora": LOW_RANK,
    "mam": (*BOTTLENECK, check_length, check_prefix),
    "parallel": BOTTLENECK,
    "peft": (check_tuner,),
    "pfeiffer": BOTTLENECK,
    "prefix": (check_prefix,),
    "sparse": (check_budget,),
}
"""By method, in the order in which the method itself checks its options."""
