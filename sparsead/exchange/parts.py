"""What the folder of another library's adapter holds: weights that are read, a head, or more."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sparsead.errors import ConfigError

_HEADS = ("classification_head", "classifier", "head", "pre_classifier", "qa_outputs", "score")
"""The names of the modules that are a model's head, in transformers; a pooler is one here too."""
_OF_HEAD = re.compile(
    r"(?:base_model\.(?:model\.)?)?"  # what peft puts before a name
    rf"(?:{'|'.join(_HEADS)}|(?:\w+\.)?pooler)(?:\.(?:dense|norm|out_proj))?\.(?:weight|bias)"
)


def check_parts(theirs: Iterable[str], read: Collection[str]) -> None:
    """Refuse a folder that holds more than is read of it: its adapter computes something else.

    The head may be left out, because a run draws its own unless it is told to read it.

    Args:
        theirs: names of the folder's tensors.
        read: those of the adapter's tensors that are read.

    Raises:
        ConfigError: one is neither read nor the head's, such as a trained LayerNorm.
    """
    for key in theirs:
        if key not in read and not is_of_head(key):
            raise ConfigError(
                f"it has {key}: this program has no such part of an adapter, and without it the "
                "rest computes something else; train the adapter without that part"
            )


def is_of_head(key: str) -> bool:
    """Tell whether a tensor of a folder is the head's, by its name."""
    return _OF_HEAD.fullmatch(key) is not None
