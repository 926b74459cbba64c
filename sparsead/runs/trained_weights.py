"""How many weights a recorded run trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsead.errors import ConfigError


def count_trained(result: Mapping[str, Any]) -> int | None:
    """Return how many weights a run trained besides the head; None if its record lacks a count.

    Raises:
        ConfigError: fewer weights trained than the head has.
    """
    counts = result["parameters"]
    if not {"head", "trainable_nonzero"} <= counts.keys():
        return None
    frozen_head = result["config"]["adapter"].get("options", {}).get("head") == "frozen"
    trained = counts["trainable_nonzero"] - (0 if frozen_head else counts["head"])
    if trained < 0:
        raise ConfigError(
            f"parameters.trainable_nonzero={counts['trainable_nonzero']}: must not be less than "
            f"the {counts['head']} of the head, which trained"
        )
    return int(trained)
