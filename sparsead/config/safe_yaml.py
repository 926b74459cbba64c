"""A reader of YAML that refuses what PyYAML takes silently: a key given twice, endless aliases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from sparsead.errors import ConfigError

_DEEPEST = 50
_MOST = 100_000
"""The most values of a document, each counted as often as aliases repeat it."""


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""YAML's safe loader, libyaml's where it is there, which is seven times faster."""


def read_mapping(file: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file; an empty file has none.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds something other than keys.
    """
    try:
        content = load_yaml(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must have keys and values")
    return content


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document; keys that `<<` merges may be given again.

    Raises:
        YAMLError: it is not YAML, a value is not of the type that its tag names, a key is given
            twice in a mapping, values are nested too deeply or in themselves, or aliases repeat
            them too often.
    """
    _check_depth(yaml.parse(text, _LOADER))
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        for number, _ in enumerate(_walk(node, 0)):
            if number == _MOST:
                raise yaml.YAMLError(f"it has more than {_MOST} values, as its aliases repeat them")
        return None if node is None else loader.construct_document(node)
    except (AttributeError, LookupError) as error:  # PyYAML's own, such as those of `!!bool x`
        raise yaml.YAMLError("a value is not of the type that its tag names") from error
    finally:
        loader.dispose()


def _check_depth(events: Iterable[yaml.Event]) -> None:
    """Refuse values that are nested too deeply; libyaml would overflow its stack when it nests."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"its values are nested in more than {_DEEPEST} others")


def _walk(node: Any, depth: int) -> Iterator[Any]:
    """Yield the values of a document; one that an alias repeats is yielded each time."""
    yield node
    if not isinstance(node, yaml.CollectionNode):
        return
    if depth == _DEEPEST:  # also where an alias leads back to a value that contains it
        raise yaml.YAMLError(f"its values are nested in more than {_DEEPEST} others")
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        values = [value for _, value in node.value]
    else:
        values = node.value
    for value in values:
        yield from _walk(value, depth + 1)


def _check_keys(node: yaml.MappingNode) -> None:
    keys: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        if key.value in keys:
            line = key.start_mark.line + 1
            raise yaml.YAMLError(f"the key {key.value} is given a second time in line {line}")
        keys.add(key.value)
