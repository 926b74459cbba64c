"""What a task is, as types: data, a head, and how the outputs are scored.

A task has every member of `Task` and can be scored in one of three ways: it `ScoresOutputs`, it
`PredictsRecords` or it `GeneratesText`. The other protocols are what some tasks can do besides. A
class need not inherit from any of them: it is of the type if it has the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sparsead.config.registry import Registry
from sparsead.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedTokenizerBase

Record = dict[str, Any]
"""The prediction on one example: plain values by name, including `prediction`."""

Collator = Callable[[list[Any]], Any]
"""Makes a batch, a mapping of tensors, from encoded examples."""


class Task(Protocol):
    """A data set with the head that is trained on it.

    The class is called with `name`, `path`, `limit`, `max_length`, `files`, those of `train`,
    `validation` and `test` that the user named, and the other keys of its file in conf/task. It
    refuses wrong ones with a ConfigError; no data is read before `load`.
    """

    @property
    def head(self) -> type[Any]:
        """A class of transformers' that gives a backbone the head, such as AutoModelFor…."""

    @property
    def head_options(self) -> Mapping[str, Any]:
        """What the head needs in the model's configuration, such as `num_labels`."""

    def load(self) -> DatasetDict:
        """Return the splits as they are: `train`, `validation` and any further ones.

        A column `label` of type ClassLabel lets every class give its share where rows are held
        out.

        Raises:
            ConfigError: an option does not go with the data.
            DataError: a local file is missing or malformed; the message names file and line.
            SourceError: a data set of the hub's cannot be had.
        """

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase, /) -> DatasetDict:
        """Return the same splits in tokens.

        Args:
            splits: what `load` gave; a part of `train` may have been held out as `validation`.
            tokenizer: the backbone's.

        Returns:
            For each split the columns that the model takes, `input_ids` and `labels` among them,
            and those that the task's scoring reads. Columns that the record reports are not kept:
            `whole_length`, the tokens that an example had before it was cut, and every column of
            booleans, whose trues are counted.

        Raises:
            DataError: an example cannot be encoded.
        """

    def collator(self, tokenizer: PreTrainedTokenizerBase, /) -> Collator:
        """Return what pads encoded examples to a batch."""


@runtime_checkable
class ScoresOutputs(Protocol):
    """A task that is scored from the model's outputs after every epoch."""

    def scores(self, output: EvalPrediction, /) -> dict[str, float]:
        """Return the scores by name, the main one first.

        Args:
            output: what the Trainer has of an encoded split: the model's outputs, such as logits
                of shape (examples, classes), and the labels.
        """


@runtime_checkable
class ScoresRecords(Protocol):
    """A task that is scored from one record per example; the run keeps the records."""

    def record_scores(self, records: Sequence[Mapping[str, Any]], /) -> dict[str, float]:
        """Return the scores of the records by name, the main one first."""


@runtime_checkable
class PredictsRecords(ScoresRecords, Protocol):
    """A task whose records are made from the model's outputs after every epoch."""

    def predictions(self, output: EvalPrediction, rows: Dataset, /) -> list[Record]:
        """Return one record an example, in the order of the examples, each with its `id`.

        Args:
            output: what the Trainer has of an encoded split.
            rows: the encoded split.
        """


@runtime_checkable
class GeneratesText(ScoresRecords, Protocol):
    """A task whose records contain texts that the model generates after training.

    An epoch is evaluated by its loss alone. The encoded splits that texts are generated for have
    the columns `id`, which differ, and `reference`. A record is `id`, `prediction`, `reference`.
    """

    @property
    def generation(self) -> Mapping[str, Any]:
        """Settings as transformers' GenerationConfig has them, such as `num_beams`."""

    @property
    def generated_splits(self) -> Sequence[str]:
        """Splits that texts are generated for; the first one's scores are the run's."""


@runtime_checkable
class EncodesNewRows(Protocol):
    """A task that a trained model can be used for, on rows that it was not trained on."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the columns of text that a row has."""

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, /) -> Dataset:
        """Return the rows, which have no labels, in tokens, as `encode` does those of a split."""


@runtime_checkable
class DecodesOutputs(Protocol):
    """A task that says what the model's outputs for new rows mean."""

    def decoded(self, output: EvalPrediction, encoded: Dataset, /) -> list[Record]:
        """Return one record a row, in their order.

        Args:
            output: the model's outputs for the rows, in their order, as those of an evaluation.
            encoded: what `encode_inputs` gave.
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
        """The test sets by the name of the submission's file, without its suffix."""

    def load_tests(self, folder: Path | None, /) -> DatasetDict:
        """Return the unlabelled test sets by these names.

        Args:
            folder: where they are; None takes them from the hub.

        Raises:
            DataError: a test set is missing or malformed.
            SourceError: the hub's test sets cannot be had.
        """

    def submission(self, records: Sequence[Mapping[str, Any]], /) -> str:
        """Return the content of the file for a test set.

        Args:
            records: what `decoded` gave for the test set, in its order.
        """


@runtime_checkable
class LearnsOptions(Protocol):
    """A task with options that can be read from the data, such as the names of classes."""

    @property
    def from_data(self) -> Mapping[str, Any]:
        """The values of these options; the data must have been read.

        The record keeps them, so that a run can be loaded without the data.
        """


@runtime_checkable
class StatesDirection(Protocol):
    """A task that states the direction of its main score."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher main score is better."""


TASKS: Registry[Task] = Registry("task", "sparsead.tasks", Task)


def check_scored(task: Task, method: str) -> None:
    """Refuse a task that can be scored in none of the three ways.

    Args:
        task: as it was built.
        method: its name in the registry, or its dotted path.

    Raises:
        ConfigError: the message names the methods.
    """
    if not isinstance(task, ScoresOutputs | PredictsRecords | GeneratesText):
        raise ConfigError(
            f"task._target_={method}: has no method 'scores', nor 'record_scores' with "
            "'predictions' or 'generation', so that nothing scores it"
        )
