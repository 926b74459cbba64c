"""A reader of YAML that refuses a key given twice, of which PyYAML takes the last one silently."""

from __future__ import annotations

from typing import Any

import yaml


class UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, libyaml's where it is there, which is seven times faster.

    Keys that `<<` merges into a mapping may be given again in it.
    """

    def get_single_node(self) -> yaml.Node | None:
        """Return the tree of the document, before merged keys are put into its mappings.

        Raises:
            YAMLError: a key is given twice in a mapping.
        """
        node: yaml.Node | None = super().get_single_node()
        _check(node, set())
        return node


def _check(node: Any, seen: set[int]) -> None:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))  # an alias leads to the same node, perhaps in a circle
    if not isinstance(node, yaml.MappingNode):
        for item in node.value:
            _check(item, seen)
        return
    keys: set[str] = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in keys:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key.value} is given a second time in line {line}")
            keys.add(key.value)
        _check(value, seen)
