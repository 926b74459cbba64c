"""AdapterHub's format: the names and the shapes of the tensors of the package `adapters`.

A folder that `save_adapter` of that package writes has `adapter_config.json` and the adapter's
tensors, and `head_config.json` and the head's. A fusion is a folder of such folders, as
`save_adapter_setup` writes it. The names follow version 1.3 of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsead.backbones.contract import AdapterHubNames, Architecture, sites_regex
from sparsead.errors import ConfigError
from sparsead.exchange.adapterhub_config import FUSION_CONFIG, build_config
from sparsead.exchange.parts import check_parts

Tensors = Mapping[str, npt.NDArray[Any]]

VERSION = "adapters.1.3.0"
"""The version of the package whose names these are; it is written into each configuration."""

_METHODS = ("bottleneck", "pfeiffer", "fusion", "parallel", "prefix", "mam", "lora")
_PART = re.compile(r"(?P<place>.+)\.adapter\.(?:tasks\.(?P<task>\d+)\.)?(?P<name>[\w.]+)")


@dataclass(frozen=True)
class HubAdapter:
    """One adapter in AdapterHub's format: its name there, its configuration and its tensors."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, npt.NDArray[Any]]


def to_adapterhub(
    entry: Architecture,
    method: str,
    options: Mapping[str, Any],
    tensors: Tensors,
    *,
    name: str,
    width: int,
) -> HubAdapter:
    """Return an adapter of any method but fusion in AdapterHub's format.

    Args:
        entry: the architecture of the backbone.
        method: the adapter's method, such as "bottleneck".
        options: its options, with all keys.
        tensors: its tensors by their names in the model, without the head's.
        name: name to give the adapter.
        width: the backbone's hidden size.

    Raises:
        ConfigError: the package `adapters` has no such adapter, or not in this architecture.
    """
    names = find_names(entry, method)
    found = _Places(names, [n for n in tensors if not _is_prefix(n)], name, options)
    converted = {found.translate(n): tensors[n] for n in tensors if not _is_prefix(n)}
    if len(converted) < sum(not _is_prefix(n) for n in tensors):
        raise ConfigError(
            f"adapter.sites={options.get('sites')}: two of these sites are the same place in the "
            "package adapters, which can hold only one adapter there"
        )
    prefixes = {n: tensor for n, tensor in tensors.items() if _is_prefix(n)}
    scale = float(options.get("prefix", {}).get("scale", 1.0))
    converted |= _join_prefixes(names, prefixes, name, scale)
    length = next((len(tensor) for tensor in prefixes.values()), 0)
    config = build_config(method, options, found.used, width=width, length=length)
    return HubAdapter(name, config, converted)


def fusion_to_adapterhub(
    entry: Architecture,
    sources: Sequence[Mapping[str, Any]],
    tensors: Tensors,
    *,
    names: Sequence[str],
    width: int,
) -> tuple[HubAdapter, list[HubAdapter]]:
    """Return a fusion, and the adapters that it combines, in AdapterHub's format.

    Args:
        entry: the architecture of the backbone.
        sources: the options of each source's adapter, which is of the method pfeiffer.
        tensors: the tensors of the fusion and its sources by their names in the model.
        names: name to give each source.
        width: the backbone's hidden size.

    Raises:
        ConfigError: the package `adapters` does not have the architecture.
    """
    places = find_names(entry, "fusion")
    combined, single = ",".join(names), []
    for number, (name, options) in enumerate(zip(names, sources, strict=True)):
        own = {
            n.replace(f".adapter.tasks.{number}.", ".adapter."): tensor
            for n, tensor in tensors.items()
            if f".adapter.tasks.{number}." in n
        }
        single.append(to_adapterhub(entry, "pfeiffer", options, own, name=name, width=width))
    found = _Places(places, [], combined, {})
    fused = {found.fusion(n): t for n, t in tensors.items() if ".adapter.tasks." not in n}
    return HubAdapter(combined, dict(FUSION_CONFIG), fused), single


def from_adapterhub(
    entry: Architecture,
    method: str,
    options: Mapping[str, Any],
    theirs: Tensors,
    wanted: Mapping[str, tuple[int, ...]],
    *,
    name: str,
) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of an adapter in AdapterHub's format under the names of the model.

    Args:
        entry: the architecture of the backbone.
        method: the method of the adapter in the model; not fusion.
        options: its options, with all keys.
        theirs: the folder's tensors.
        wanted: names and shapes of the adapter's tensors in the model.
        name: the adapter's name in the folder.

    Raises:
        ConfigError: the folder has no tensor for one of the names, or one that has no place here.
    """
    names = find_names(entry, method)
    prefixes = {ours: shape for ours, shape in wanted.items() if _is_prefix(ours)}
    others = [ours for ours in wanted if ours not in prefixes]
    found = _Places(names, others, name, options)
    scale = float(options.get("prefix", {}).get("scale", 1.0))
    tensors = _split_prefixes(names, theirs, prefixes, name, scale)
    translated = {ours: found.translate(ours) for ours in others}
    pools = {_prefix_key(location, name) for _, location, *_ in _prefix_places(names, prefixes)}
    read = {*translated.values(), *pools}
    if options.get("layer_norm") == "before":  # there the norm has a second name
        read |= {key for key in theirs if f".adapters.{name}.adapter_down.0." in key}
    for key in theirs:
        if re.search(rf"\.(adapters|loras)\.{re.escape(name)}\.", key) and key not in read:
            raise ConfigError(f"it has {key}, for which this run's adapter has no place")
    check_parts(theirs, read)
    return tensors | {ours: _get(theirs, key) for ours, key in translated.items()}


class _Places:
    """The names of an adapter's tensors there, and the kinds of place that it is at."""

    def __init__(
        self,
        names: AdapterHubNames,
        tensors: Iterable[str],
        name: str,
        options: Mapping[str, Any],
    ) -> None:
        self._kinds = {
            "attention": names.attention,
            "cross_attention": names.cross_attention,
            "ffn": names.ffn,
        }
        self._name = name
        self._norm = options.get("layer_norm")
        self._activation = options.get("activation")
        self.used = {self._place(ours)[0] for ours in tensors if ".lora_" not in ours}

    def translate(self, ours: str) -> str:
        """Return the package's name of a bottleneck's or LoRA's tensor.

        Raises:
            ConfigError: it is a weight of the activation.
        """
        place, part = _split_name(ours)
        if part.startswith("lora_"):
            return f"{place}.loras.{self._name}.{part.removesuffix('.weight')}"
        layer, _, kind = part.rpartition(".")
        down = f"adapter_down.{int(self._norm == 'before')}"
        layers = {"down": down, "up": "adapter_up", "norm": f"adapter_norm_{self._norm}"}
        if layer not in layers:
            raise ConfigError(
                f"adapter.activation={self._activation}: has weights of its own, which cannot be "
                "exchanged with the package adapters"
            )
        return f"{self._place(ours)[1]}.adapters.{self._name}.{layers[layer]}.{kind}"

    def fusion(self, ours: str) -> str:
        """Return the package's name of a tensor of the fusion itself."""
        return f"{self._place(ours)[1]}.adapter_fusion_layer.{self._name}.{_split_name(ours)[1]}"

    def _place(self, ours: str) -> tuple[str, str]:
        module, _ = _split_name(ours)
        for kind, places in self._kinds.items():
            for pattern, theirs in places.items():
                if (found := _match(pattern, module)) is not None:
                    prefix, layer = found
                    return kind, prefix + theirs.replace("{i}", layer)
        raise ConfigError(
            f"adapter.sites: the package adapters has no adapter at {module}; it has those of "
            "attention_output and ffn_output"
        )


def find_names(entry: Architecture, method: str) -> AdapterHubNames:
    """Return the package's names of places in an architecture.

    Raises:
        ConfigError: it does not have the architecture, or the adapter's method in it.
    """
    if entry.adapterhub is None:
        raise ConfigError(f"the package adapters does not support {entry.model_type}")
    if method not in _METHODS or method in entry.adapterhub.others:
        known = ", ".join(each for each in _METHODS if each not in entry.adapterhub.others)
        raise ConfigError(
            f"adapter.method={method}: the package adapters has none that computes the same in "
            f"{entry.model_type}; it has {known}"
        )
    return entry.adapterhub


def _split_name(ours: str) -> tuple[str, str]:
    """Return the module that has the adapter, and the tensor's name in the adapter."""
    found = _PART.fullmatch(ours)
    if found is None:
        raise ConfigError(
            f"{ours}: belongs to the backbone, which the folder of an adapter does not contain"
        )
    return found["place"], found["name"]


def _match(pattern: str, module: str) -> tuple[str, str] | None:
    """Return what stands before a pattern of a module's name, and the layer's number."""
    layer = sites_regex([pattern]).replace(r"\d+", r"(?P<layer>\d+)")
    found = re.fullmatch(rf"(?P<prefix>(?:\w+\.)*?){layer}", module)
    return None if found is None else (found["prefix"], found["layer"])


def _is_prefix(ours: str) -> bool:
    return ours.endswith((".adapter.key", ".adapter.value"))


def _prefix_places(
    names: AdapterHubNames, ours: Iterable[str]
) -> Iterator[tuple[str, str, int, int]]:
    """Yield for each prefix: name here, location there, layer, and 0 for keys or 1 for values."""
    for name in ours:
        module, part = _split_name(name)
        for pattern, location in names.prefixes.items():
            if (found := _match(pattern, module)) is not None:
                yield name, f"{found[0]}{location}", int(found[1]), int(part == "value")


def _prefix_key(location: str, name: str) -> str:
    base, _, kind = location.rpartition(".")
    pool = f"prefix_tuning.prefix_tunings.{name}.{kind}.control_trans"
    return f"{base}.{pool}" if base else pool


def _join_prefixes(
    names: AdapterHubNames, tensors: Tensors, name: str, scale: float
) -> dict[str, npt.NDArray[Any]]:
    """Return the prefixes of each location as one flat tensor, (l · layers · 2 · width)."""
    by_location: dict[str, dict[tuple[int, int], npt.NDArray[Any]]] = {}
    for ours, location, layer, part in _prefix_places(names, tensors):
        by_location.setdefault(location, {})[layer, part] = scale * tensors[ours]
    joined = {}
    for location, parts in by_location.items():
        stacked = np.stack([parts[key] for key in sorted(parts)], axis=1)
        joined[_prefix_key(location, name)] = stacked.astype(np.float32).ravel()
    return joined


def _split_prefixes(
    names: AdapterHubNames,
    theirs: Tensors,
    wanted: Mapping[str, tuple[int, ...]],
    name: str,
    scale: float,
) -> dict[str, npt.NDArray[Any]]:
    """Return the keys and values of each layer, (l, width), which are P / scale in the model."""
    found = list(_prefix_places(names, wanted))
    split = {}
    for ours, location, layer, part in found:
        key = _prefix_key(location, name)
        layers = 1 + max(each[2] for each in found if each[1] == location)
        length, width = wanted[ours]
        values = _get(theirs, key)
        if values.size != length * layers * 2 * width:
            raise ConfigError(f"{key} has {values.size} values, not {length * layers * 2 * width}")
        split[ours] = values.reshape(length, layers, 2, width)[:, layer, part] / scale
    return split


def _get(theirs: Tensors, key: str) -> npt.NDArray[Any]:
    if key not in theirs:
        raise ConfigError(f"it has no {key}")
    return theirs[key]
