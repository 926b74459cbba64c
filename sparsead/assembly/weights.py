"""Whether the stored weights of a run are those that its model needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsead.adapters.adapted import AdaptedModel
from sparsead.errors import RecordError
from sparsead.pruning.storage import WEIGHTS_FILE
from sparsead.runs.record import RunRecord


def check_tensors(record: RunRecord, adapted: AdaptedModel, state: Mapping[str, Any]) -> None:
    """Check that a run's weights are those that its model needs.

    Args:
        record: the run.
        adapted: its model.
        state: its weights by name, tensors or arrays.

    Raises:
        RecordError: one is missing, has another type or shape, or is not in the model.
    """
    whole = adapted.model.state_dict()  # perhaps on the meta device, without values
    expected = {name: whole[name] for name in adapted.stored}
    for name in sorted({*expected, *state}):
        found, needed = (_describe(each.get(name)) for each in (state, expected))
        if found != needed:
            raise RecordError(
                f"{record.folder / WEIGHTS_FILE}: {name} is {found}, but the model needs {needed}"
            )


def _describe(tensor: Any) -> str:
    """Return the type and the shape of a tensor or an array, such as `float32[2, 3]`."""
    if tensor is None:
        return "no such tensor"
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
