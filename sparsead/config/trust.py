"""What a record may name: registered methods and the project's own backbone packages.

A record is data that somebody else may have written. A dotted path in it would import a module,
which runs that module's code. Such a path is refused unless the user names its package in the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparsead.config.safe_yaml import read_mapping
from sparsead.errors import ConfigError

_METHODS = ("adapter", "pruner", "task")
CODE_KEYS = ("auto_map", "_implementation")
"""Keys of a transformers configuration that can name code to load, by how they end."""


def check_trusted(run: Mapping[str, Any], trust: str | Sequence[str] | None = None) -> None:
    """Refuse a recorded configuration that names code which is not the project's own.

    Nothing is imported. Names without a dot are left to the registries, which know all methods.

    Args:
        run: a run's configuration as plain values, of the form of `RunSpec.to_dict`.
        trust: the packages that the user allows in this call, such as `my_package`.

    Raises:
        ConfigError: the configuration names a package that is neither known nor trusted.
    """
    allowed = [trust] if isinstance(trust, str) else list(trust or ())
    for key, path in _list_code(run):
        if not any(_is_within(path, package) for package in allowed):
            package = path.partition(":")[0].partition(".")[0]
            raise ConfigError(
                f"{key}={path}: is code of another package, which a record may not name; if you "
                f"trust its author, allow it with trust={package!r} (--trust {package})"
            )


def is_trusted(run: Mapping[str, Any]) -> bool:
    """Tell whether a configuration names registered methods and known packages only."""
    return not any(_list_code(run))


def is_registered(method: str) -> bool:
    """Tell whether a method is a name for the registries, and not the path of a user's own code."""
    return method.isidentifier()


def _list_code(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values would make this program import or fetch code, and the values."""
    for group in _METHODS:
        method = str(run[group]["method"])
        if not is_registered(method):
            yield f"{group}.method", method
    metrics = run["task"].get("options", {}).get("metrics", ())
    for metric in metrics if isinstance(metrics, list | tuple) else ():
        if "." in str(metric):
            yield "task.metrics", str(metric)
    backbone = run["backbone"]
    package = backbone.get("package")
    if package is not None and package not in _known_packages():
        yield "backbone.package", str(package)
    for key, value in backbone.get("architecture", {}).items():
        if str(key).endswith(CODE_KEYS):
            yield f"backbone.architecture.{key}", str(value)


def _is_within(path: str, package: str) -> bool:
    return path == package or path.startswith((f"{package}.", f"{package}:"))


@cache
def _known_packages() -> frozenset[str]:
    folder = Path(str(files("sparsead.conf"))) / "backbone"
    contents = (read_mapping(file) for file in folder.glob("*.yaml"))
    return frozenset(content["package"] for content in contents if content.get("package"))
