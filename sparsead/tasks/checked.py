"""What a task returns is checked where it is called, so that a mistake is one line of its own."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, DatasetDict

from sparsead.config.schema import check_split_name
from sparsead.errors import ConfigError

_NEEDED = ("train", "validation")
_INPUT = "input_ids"
_TARGETS = {"labels", "start_positions"}


def check_head(head: Any) -> None:
    """Refuse what is no class of a model with a head.

    Raises:
        ConfigError: a task's `head` is something else.
    """
    if not isinstance(head, type):
        raise ConfigError(
            f"task: its head is {head!r}; it must be a class of transformers, such as "
            "AutoModelForSequenceClassification"
        )


def check_collator(collator: Any) -> Any:
    """Return what a task's method `collator` returned.

    Raises:
        ConfigError: it cannot be called with a list of examples.
    """
    if not callable(collator):
        raise ConfigError(
            f"task: its method 'collator' must return a function of a list of examples, not "
            f"{type(collator).__name__}"
        )
    return collator


def check_loaded(splits: Any) -> DatasetDict:
    """Return what a task's method `load` returned.

    Raises:
        ConfigError: it is no DatasetDict with the splits train and validation, or a further split
            has a name under which its predictions could not be recorded.
    """
    loaded = _check_splits("load", splits, _NEEDED)
    for split in loaded:
        check_split_name("task: its method 'load' returns split", str(split))
    return loaded


def check_encoded(splits: Any, rows: DatasetDict, highest: int) -> DatasetDict:
    """Return what a task's method `encode` returned for the rows.

    Args:
        splits: what it returned.
        rows: the splits before they were tokenised.
        highest: the highest number of a token of the tokenizer.

    Raises:
        ConfigError: it is no DatasetDict with the same splits, one lacks tokens, an example has
            none or such as the tokenizer does not have, or train has nothing to learn.
    """
    encoded = _check_splits("encode", splits, tuple(rows))
    if more := [split for split in encoded if split not in rows]:
        raise ConfigError(f"task: its method 'encode' returns a split {more[0]!r} of its own")
    if not _TARGETS.intersection(encoded["train"].column_names):
        raise ConfigError(
            "task: train has no column 'labels' after its method 'encode'; it must have what is "
            "predicted"
        )
    for split, examples in encoded.items():
        if _INPUT not in examples.column_names:
            raise ConfigError(
                f"task: {split} has no column '{_INPUT}' after its method 'encode' (it has "
                f"{', '.join(examples.column_names)})"
            )
        for number, tokens in enumerate(examples[_INPUT], start=1):
            if not len(tokens):
                raise ConfigError(
                    f"task: example {number} of {split} has no tokens after its method 'encode'"
                )
            for token in tokens:
                if not isinstance(token, int) or not 0 <= token <= highest:
                    raise ConfigError(
                        f"task: example {number} of {split} has the token {token!r} after its "
                        f"method 'encode'; the tokenizer's tokens are 0 to {highest}"
                    )
    return encoded


def _check_splits(method: str, splits: Any, needed: tuple[str, ...]) -> DatasetDict:
    if not isinstance(splits, DatasetDict):
        raise ConfigError(
            f"task: its method '{method}' must return a DatasetDict, not {type(splits).__name__}"
        )
    for split in needed:
        if not isinstance(splits.get(split), Dataset):
            raise ConfigError(
                f"task: its method '{method}' returns no split '{split}' (it returns "
                f"{', '.join(splits) or 'none'})"
            )
    return splits
