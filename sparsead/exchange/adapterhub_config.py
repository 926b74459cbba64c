"""AdapterHub's format: the configuration that the package `adapters` reads beside the tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sparsead.errors import ConfigError

FUSION_CONFIG: Mapping[str, Any] = {
    "key": True,
    "query": True,
    "value": True,
    "query_before_ln": False,
    "regularization": True,
    "residual_before": False,
    "temperature": False,
    "value_before_softmax": True,
    "value_initialized": "DIAGONAL",
    "dropout_prob": None,
}
"""The configuration of a fusion as this program computes it."""

_LORA_SITES = {"query": "q", "key": "k", "value": "v"}


def reduction_factor(width: int, bottleneck: int) -> float:
    """Return the factor from which the package computes the bottleneck: int(width // factor)."""
    return width / bottleneck if width % bottleneck == 0 else width / (bottleneck + 0.5)


def build_config(
    method: str, options: Mapping[str, Any], used: Collection[str], *, width: int, length: int
) -> dict[str, Any]:
    """Return the package's configuration of an adapter of any method but fusion.

    Args:
        method: the adapter's method, such as "bottleneck".
        options: its options, with all keys.
        used: the kinds of place that it is at: "attention", "cross_attention" and "ffn".
        width: the backbone's hidden size.
        length: the length of its prefixes; 0 if it has none.

    Raises:
        ConfigError: the package's LoRA has no such site.
    """
    prefix = {
        "architecture": "prefix_tuning",
        "flat": True,
        "prefix_length": length,
        "encoder_prefix": True,
        "cross_prefix": True,
        "dropout": 0.0,
    }
    if method == "prefix":
        return prefix
    if method == "lora":
        return _lora_config(options)
    bottleneck = {
        "mh_adapter": "attention" in used,
        "output_adapter": "ffn" in used,
        "cross_adapter": "cross_attention" in used,
        "reduction_factor": reduction_factor(width, options["bottleneck"]),
        "non_linearity": options["activation"],
        "scaling": float(options["scale"]),
        # The package draws dropout on the output, not on the hidden layer; only training differs.
        "dropout": float(options["dropout"]),
        "ln_before": options["layer_norm"] == "before",
        "ln_after": options["layer_norm"] == "after",
        "original_ln_before": method == "pfeiffer",
        "original_ln_after": True,
        "residual_before_ln": True,
        "adapter_residual_before_ln": False,
        "is_parallel": method in ("parallel", "mam"),
        "init_weights": "bert",
        "use_gating": False,
        "inv_adapter": None,
        "leave_out": [],
    }
    if method == "mam":
        return {"architecture": "union", "configs": [prefix, bottleneck]}
    return bottleneck


def _lora_config(options: Mapping[str, Any]) -> dict[str, Any]:
    sites = options["sites"]
    other = [site for site in sites if site not in (*_LORA_SITES, "ffn_input", "ffn_projection")]
    if other:
        raise ConfigError(
            f"adapter.sites={other[0]}: LoRA of the package adapters has no such site"
        )
    return {
        "architecture": "lora",
        "selfattn_lora": any(site in _LORA_SITES for site in sites),
        "intermediate_lora": "ffn_input" in sites,
        "output_lora": "ffn_projection" in sites,
        "attn_matrices": [_LORA_SITES[site] for site in sites if site in _LORA_SITES],
        "r": options["bottleneck"],
        "alpha": options["alpha"],
        "dropout": float(options["dropout"]),
        "composition_mode": "add",
        "init_weights": "lora",
        "use_gating": False,
        "leave_out": [],
    }
