"""An example that no model can be given is named by its place; that of a new row is found."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from sparsead.errors import DataError

if TYPE_CHECKING:
    from sparsead.tasks.contract import EncodesNewRows, NewRow


class ExampleError(DataError):
    """An example cannot be encoded.

    Attributes:
        reason: what is wrong with it, without its place.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.reason = reason


def encode_new_rows(
    task: EncodesNewRows,
    rows: Sequence[NewRow],
    places: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
) -> Dataset:
    """Return at least one new row as the task encodes it.

    Args:
        task: any that encodes new rows; it does not know where they come from.
        rows: the new rows.
        places: where each comes from, such as `rows.csv:2`.
        tokenizer: the backbone's.

    Raises:
        DataError: a row cannot be encoded; the message begins with the place of the first such.
    """

    def encode(count: int) -> Dataset:
        columns = Dataset.from_list([dict(row.columns) for row in rows[:count]])
        return task.encode_inputs(columns, tokenizer)

    def refuse(count: int) -> ExampleError | None:
        try:
            encode(count)
        except ExampleError as error:
            return error
        return None

    try:
        return encode(len(rows))
    except ExampleError:
        counts = range(1, len(rows) + 1)
        first = bisect_left(counts, True, key=lambda count: refuse(count) is not None)
        error = refuse(counts[first])
        assert error is not None
        raise DataError(f"{places[first]}: {error.reason}") from error
