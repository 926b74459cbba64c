"""Registries of adapters, pruners and tasks; a decorator in each method's module registers it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from sparsead.errors import ConfigError, unknown, unknown_key, wrong_type

T = TypeVar("T")
Entry = TypeVar("Entry", bound=Callable[..., Any])
Bound = TypeVar("Bound")


class Registry(Generic[T]):
    """The methods of one kind, found by importing every module of the package that holds them.

    An entry is a class or a function that returns an instance of T when called.
    """

    def __init__(self, kind: str, package: str, contract: type | None = None) -> None:
        """Create an empty registry.

        Args:
            kind: the Hydra group whose `method` key names the entries.
            package: dotted name of the package whose modules register themselves.
            contract: T, if T is a protocol; a user's own class must have its methods.
        """
        self.kind = kind
        self.package = package
        self._methods = [] if contract is None else _methods(contract)
        self._entries: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that registers a function or class under `name`."""

        def enter(entry: Entry) -> Entry:
            self._entries[name] = entry
            return entry

        return enter

    def get(self, name: str) -> Callable[..., T]:
        """Return the entry called `name`; a dotted path names an importable object instead.

        Raises:
            ConfigError: nothing is registered or importable under that name, or the imported object
                lacks one of the contract's methods.
        """
        if "." in name:
            return self._import_entry(name)
        entries = self.entries()
        if name not in entries:
            raise ConfigError(unknown(f"{self.kind}.method", name, entries))
        return entries[name]

    def entries(self) -> Mapping[str, Callable[..., T]]:
        """Import every module of the package, and return what is registered, by name."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        return self._entries

    def bind(self, name: str, options: Mapping[str, Any]) -> Callable[..., T]:
        """Return the entry with `options` bound as keyword arguments, like `functools.partial`.

        Raises:
            ConfigError: an option is not a parameter of the entry, or has the wrong type.
        """
        return bind_options(self.kind, self.get(name), options)

    def _import_entry(self, path: str) -> Callable[..., T]:
        """Import a user's own entry, and check that it has the contract's methods.

        A path from a record is checked before, without importing it: see `sparsead.config.trust`.
        """
        given = f"{self.kind}._target_={path}"
        entry = import_object(f"{self.kind}._target_", path)
        if not callable(entry):
            raise ConfigError(f"{given}: is not a class or a function")
        members = dir(entry)
        for method in self._methods:
            if method not in members:
                raise ConfigError(f"{given}: has no method {method!r}")
        return entry  # type: ignore[no-any-return]


def import_object(key: str, path: str) -> Any:
    """Import an object of the user's own.

    Args:
        key: the configuration key that names it, for the message.
        path: its dotted path.

    Raises:
        ConfigError: there is no such object, or its module is not Python.
    """
    try:  # the traceback of a SyntaxError has no frame in the module by which to name it later
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{key}={path}: cannot be imported ({error})") from error


def _methods(contract: type) -> list[str]:
    """Return the names of the methods that a protocol itself requires, without inherited ones."""
    return [
        name
        for name, member in vars(contract).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]


def bind_options(
    group: str, entry: Callable[..., Bound], options: Mapping[str, Any]
) -> Callable[..., Bound]:
    """Return `entry` with `options`, keys of the config group `group`, bound as keyword arguments.

    Raises:
        ConfigError: an option is not a parameter of the entry, or has the wrong type, or the entry
            needs another one.
    """
    name = f"{entry.__module__}.{getattr(entry, '__qualname__', type(entry).__qualname__)}"
    try:
        signature = inspect.signature(entry)
    except ValueError as error:  # some functions that are not Python's own do not tell
        raise ConfigError(f"{group}: {name} does not tell its arguments; wrap it") from error
    parameters = signature.parameters
    plain_class = inspect.isclass(entry) and not is_dataclass(entry)
    types = _find_types(entry.__init__ if plain_class else entry)
    for option, value in options.items():
        if option not in parameters:
            raise ConfigError(unknown_key(f"{group}.{option}", parameters))
        expected = types.get(option, Any)
        if not _is_a(value, expected):
            kind = inspect.formatannotation(expected)
            raise ConfigError(wrong_type(f"{group}.{option}", value, kind))
    scored = [None] if group == "pruner" else []  # a pruner is called with what it scores
    try:
        signature.bind(*scored, **options)
    except TypeError as error:
        raise ConfigError(f"{group}: {name} cannot be called, {error}") from error
    return partial(entry, **options)


def _find_types(entry: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotated types, with which options are checked.

    None are known if one of the names is not defined, as those under TYPE_CHECKING, or if the entry
    is an object that can be called.
    """
    try:
        return get_type_hints(entry)
    except (NameError, TypeError):
        return {}


def _is_a(value: object, expected: Any) -> bool:
    """Tell whether a configuration value has the annotated type, such as `int | None`."""
    origin = get_origin(expected) or expected
    if origin is Any or not isinstance(origin, type):
        return origin is Any or any(_is_a(value, choice) for choice in get_args(expected))
    if origin is UnionType:
        return any(_is_a(value, choice) for choice in get_args(expected))
    if isinstance(value, str) and origin is not str:
        return False
    if isinstance(value, bool) or origin is bool:
        return type(value) is origin
    if origin is float:
        return isinstance(value, int | float)
    return isinstance(value, origin) and _holds(value, get_args(expected))


def _holds(value: object, expected: Sequence[Any]) -> bool:
    """Tell whether the items of a list or a mapping have the types in its annotation."""
    if isinstance(value, Mapping) and len(expected) == 2:
        key_type, value_type = expected
        return all(_is_a(k, key_type) and _is_a(v, value_type) for k, v in value.items())
    if isinstance(value, list) and len(expected) == 1:
        return all(_is_a(item, expected[0]) for item in value)
    return True
