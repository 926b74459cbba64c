"""How many tokens an architecture has positions for; torch is not needed to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsead.backbones.contract import architectures
from sparsead.errors import ConfigError

_POSITIONS = "max_position_embeddings"
_ROBERTA_PADDING = 1
"""The id of the padding token in transformers' configurations of RoBERTa that name none."""


def count_positions(values: Mapping[str, Any]) -> int | None:
    """Return the number of positions, including those of special tokens.

    Args:
        values: keys and values of a transformers configuration.

    Returns:
        The number; None if it is unlimited, or if neither the configuration nor the entry of the
        architecture says it.

    Raises:
        ConfigError: the configuration has something else than a number there.
    """
    if not values.get("position_biased_input", True):
        return None  # DeBERTa has relative positions only
    positions = _read_number(values, _POSITIONS)
    entry = architectures().get(str(values.get("model_type")))
    if positions is None and entry is not None:
        key = entry.positions_key
        positions = _read_number({key: entry.positions, **values}, key)
    if positions is not None and _begins_behind_padding(str(values.get("model_type"))):
        padding = _read_number(values, "pad_token_id")
        return positions - (_ROBERTA_PADDING if padding is None else padding) - 1
    return positions


def check_tokens(
    key: str, tokens: int, backbone: str, positions: int | None, after: int = 0
) -> None:
    """Refuse texts of more tokens than the backbone has positions for.

    Args:
        key: configuration key of the length, for the message.
        tokens: number of tokens of the longest text.
        backbone: the backbone's name, for the message.
        positions: what `count_positions` returns.
        after: greatest number of tokens that follow the text in the same sequence.

    Raises:
        ConfigError: the backbone has fewer positions.
    """
    if positions is not None and tokens + after > positions:
        others = f", and {after} may follow" if after else ""
        free = positions - after
        remedy = f"use {key}={free} or less" if free > 0 else "no position is left for a text"
        raise ConfigError(
            f"{key}={tokens}: backbone={backbone} has positions for {positions} tokens{others}; "
            f"{remedy}"
        )


def _read_number(values: Mapping[str, Any], key: str) -> int | None:
    number: int | None = values.get(key)
    if type(number) not in (int, type(None)):
        raise ConfigError(f"backbone.architecture.{key}={number}: must be a whole number")
    return number


def _begins_behind_padding(model_type: str) -> bool:
    """Tell whether the first positions are reserved for padding.

    They are also in RoBERTa variants without an entry, which `adapter=full` can train.
    """
    entry = architectures().get(model_type)
    return "roberta" in model_type if entry is None else entry.positions_behind_padding
