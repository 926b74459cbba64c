"""The contract of tasks: data, a head, and how the model's outputs are scored.

A task has every member of `Task`, and those of one of the three protocols that say how it is
scored: `ScoresOutputs`, `PredictsRecords` or `GeneratesText`. The other protocols are optional
abilities. A class need not inherit from any protocol; it only needs to have the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sparsead.config.registry import Registry
from sparsead.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedTokenizerBase

    from sparsead.tasks.rows import Rows

Record = dict[str, Any]
"""The prediction for one example: JSON values by name, including `prediction`."""

Collator = Callable[[list[Any]], Any]
"""A function from encoded examples to a batch, which is a mapping of tensors."""


class Task(Protocol):
    """A data set and the head that is trained on it.

    The class is called with `name`, `path`, `limit`, `max_length`, `files`, the keys of `train`,
    `validation` and `test` that the user has set, and the other keys of the task's file in
    conf/task. It raises a ConfigError for a wrong value. No data is read before `load` is called.
    """

    @property
    def head(self) -> type[Any]:
        """The class of transformers that adds the head to a backbone, such as AutoModelFor…."""

    @property
    def head_options(self) -> Mapping[str, Any]:
        """The options of the model's configuration that the head needs, such as `num_labels`."""

    def load(self) -> DatasetDict:
        """Return the unencoded splits: `train`, `validation` and any further ones.

        If a column `label` has the type ClassLabel, a held-out share of `train` is stratified.

        Raises:
            ConfigError: an option does not fit the data.
            DataError: a local file is missing or malformed; the message names file and line.
            SourceError: a data set cannot be loaded from the hub.
        """

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase, /) -> DatasetDict:
        """Tokenise the splits.

        Args:
            splits: the splits from `load`; a share of `train` may have been held out as
                `validation`.
            tokenizer: the backbone's tokenizer.

        Returns:
            For each split the columns that the model takes, including `input_ids` and `labels`,
            and the columns that the task's scoring reads. Two kinds of columns are only summed up
            in the record and then dropped: `whole_length`, the number of tokens of an example
            before truncation, and every boolean column, of which the true values are counted.

        Raises:
            DataError: an example cannot be encoded.
        """

    def collator(self, tokenizer: PreTrainedTokenizerBase, /) -> Collator:
        """Return the collator that pads encoded examples to a batch."""


class MakesPredictions(Protocol):
    """A task that says what the model's outputs on an evaluated split predict."""

    def predictions(self, output: EvalPrediction, rows: Dataset, /) -> list[Record]:
        """Return one record per example, in the order of the examples; the run stores them.

        All records have the same keys: `id`, whose values are unique, `prediction`, and any
        others, such as `label`, the true value.

        Args:
            output: the Trainer's output on an encoded split.
            rows: the encoded split.
        """


@runtime_checkable
class ScoresOutputs(MakesPredictions, Protocol):
    """A task that is scored from the model's outputs after every epoch."""

    def scores(self, output: EvalPrediction, /) -> dict[str, float]:
        """Return the scores by name, the main one first.

        Args:
            output: the Trainer's output on an encoded split: the model's outputs, such as logits
                of shape (examples, classes), and the labels.
        """


@runtime_checkable
class ScoresRecords(Protocol):
    """A task that is scored from one record per example; the run stores the records."""

    def record_scores(self, records: Sequence[Mapping[str, Any]], /) -> dict[str, float]:
        """Return the scores of the records by name, the main one first."""


@runtime_checkable
class PredictsRecords(MakesPredictions, ScoresRecords, Protocol):
    """A task that is scored after every epoch from records of the model's outputs."""


@runtime_checkable
class ScoresExamples(Protocol):
    """A task with scores that are means over the examples."""

    def example_scores(self, records: Sequence[Mapping[str, Any]], /) -> dict[str, list[float]]:
        """Return, for each such score, the value of every record; the run stores them.

        Tables need them for intervals that count examples, and `show --errors` to find the worst.
        Accuracy and the other metrics of classes and numbers need none: they are computed from
        `label` and `prediction`.
        """


@runtime_checkable
class GeneratesText(ScoresRecords, Protocol):
    """A task whose records contain texts that the model generates after training.

    After an epoch only the loss is computed. The encoded splits for which texts are generated have
    the columns `id`, whose values are unique, and `reference`. A record has the keys `id`,
    `prediction` and `reference`.
    """

    @property
    def generation(self) -> Mapping[str, Any]:
        """Settings of transformers' GenerationConfig, such as `num_beams`."""

    @property
    def generated_splits(self) -> Sequence[str]:
        """The splits for which texts are generated; the scores of the first are the run's."""


@runtime_checkable
class EncodesNewRows(Protocol):
    """A task whose trained model can predict new rows, which belong to none of its splits."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the text columns of a row."""

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, /) -> Dataset:
        """Tokenise rows without labels in the same way as `encode`."""


@dataclass(frozen=True)
class NewRow:
    """One input to be predicted; a row of new data holds one or several.

    Attributes:
        row: the number of that row, from 0.
        columns: what `encode_inputs` reads.
        id: what tells it apart where a row holds several; None where it holds one.
    """

    row: int
    columns: Mapping[str, Any]
    id: str | None = None


@runtime_checkable
class ReadsNewRows(Protocol):
    """A task whose new rows have other columns than texts, from which it builds what is encoded."""

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of a row, for each form in which the task's data is written.

        `a.b` is the key `b` of an object `a`.
        """

    def new_rows(self, rows: Rows, /) -> Sequence[NewRow]:
        """Return the inputs to be predicted in rows that have the columns of one of the layouts.

        Raises:
            DataError: a value cannot be used; the message names file, line and column.
        """


@runtime_checkable
class DecodesOutputs(Protocol):
    """A task that turns the model's outputs for new rows into predictions."""

    def decoded(self, output: EvalPrediction, encoded: Dataset, /) -> list[Record]:
        """Return one record per row, in the order of the rows.

        Args:
            output: the model's outputs for the rows, in their order, as in an evaluation.
            encoded: the rows from `encode_inputs`.
        """


@runtime_checkable
class ReadsJson(Protocol):
    """A task that has a JSON format of its own for new rows."""

    def read_json(self, path: Path, /) -> Sequence[Mapping[str, Any]]:
        """Return the file's rows, each with the columns `inputs` and an `id`.

        Raises:
            DataError: the file is malformed; the message names the place.
        """


@runtime_checkable
class WritesSubmission(Protocol):
    """A task with test sets whose predictions a benchmark's server scores."""

    @property
    def tests(self) -> Mapping[str, object]:
        """The test sets, keyed by the name of the submission's file without its suffix."""

    def load_tests(self, folder: Path | None, /) -> DatasetDict:
        """Return the unlabelled test sets, keyed as in `tests`.

        Args:
            folder: the folder of the test sets; None loads them from the hub.

        Raises:
            DataError: a test set is missing or malformed.
            SourceError: the test sets cannot be loaded from the hub.
        """

    def submission(self, records: Sequence[Mapping[str, Any]], /) -> str:
        """Return the content of the submission's file for one test set.

        Args:
            records: the records from `decoded` for the test set, in its order.
        """


@runtime_checkable
class LearnsOptions(Protocol):
    """A task with options that it can derive from the data, such as the names of the classes."""

    @property
    def from_data(self) -> Mapping[str, Any]:
        """The derived values of these options; `load` must have been called.

        The record stores them, so that a run can be loaded without the data.
        Of the project's own tasks, `sparsead.runs.result` reads back only those that it declares.
        """


@runtime_checkable
class StatesDirection(Protocol):
    """A task that states which values of its scores are better."""

    @property
    def higher_is_better(self) -> bool | Mapping[str, bool]:
        """Whether a higher main score is better; or, by its name, whether a higher score is."""


@runtime_checkable
class TellsConstantOutputs(Protocol):
    """A task whose predictions may differ although the model's outputs do not.

    Without this method, a model has collapsed if all `prediction`s of its records are the same.
    """

    def outputs_are_constant(self, records: Sequence[Mapping[str, Any]], /) -> bool:
        """Tell whether the model's outputs are the same for all inputs of the records."""


TASKS: Registry[Task] = Registry("task", "sparsead.tasks", Task)


def check_scored(task: Task, method: str) -> None:
    """Check that a task can be scored in one of the three ways.

    Args:
        task: the task.
        method: its name in the registry, or its dotted path.

    Raises:
        ConfigError: it cannot; the message names the methods that it lacks.
    """
    if not isinstance(task, ScoresOutputs | PredictsRecords | GeneratesText):
        raise ConfigError(
            f"task._target_={method}: cannot be scored: it has neither 'scores' nor "
            "'record_scores' beside 'predictions', nor 'record_scores' beside 'generation'"
        )
