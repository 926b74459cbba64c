"""The base of the tasks of SuperGLUE that choose among candidates.

Each candidate is one input: a text and the candidate, of which the model tells whether it is right.
A question's candidates are compared by the probabilities of "right" (Wang et al., 2019, do so for
MultiRC and ReCoRD).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from sparsead.config.values.tasks import check_hub_splits
from sparsead.errors import ConfigError, unknown
from sparsead.tasks.contract import NewRow, Record
from sparsead.tasks.control_tokens import refuse_control_tokens
from sparsead.tasks.metrics import is_constant
from sparsead.tasks.questions import Question
from sparsead.tasks.rows import Rows
from sparsead.tasks.splits import first_examples
from sparsead.tasks.superglue import HUB_SPLITS, read_superglue

CLASSES = ("wrong", "right")
_TEXTS = List(Value("string"))
_FEATURES = Features(
    {
        "id": Value("string"),
        "text": Value("string"),
        "candidates": _TEXTS,
        "statements": _TEXTS,
        "right": List(Value("bool")),
        "answers": _TEXTS,
    }
)


@dataclass(frozen=True)
class CandidateTask:
    """Questions with candidates, each of which is right or wrong.

    Args:
        name: name of the task.
        metrics: names of the metrics, the main one first.
        max_length: greatest number of tokens of a text with a candidate; longer ones are truncated.
        limit: number of questions of each split to use, from the first on; None uses all.
        path: folder of the files; None loads `hub` from the hub.
        files: split → file below `path`.
        hub: name of the data set on the hub.
        hub_config: name of the configuration of that data set.
        hub_splits: the task's split → the hub's split.
        revision: the hub's branch, tag or commit; None for its main branch.
    """

    name: str
    metrics: Sequence[str]
    max_length: int
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    hub: str = ""
    hub_config: str = ""
    hub_splits: Mapping[str, str] = field(default_factory=lambda: dict(HUB_SPLITS))
    revision: str | None = None

    head = AutoModelForSequenceClassification
    higher_is_better = True
    scored_by: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_hub_splits(vars(self))
        for metric in self.metrics:
            if metric not in self.scored_by:
                raise ConfigError(unknown("task.metrics", metric, self.scored_by))
        if not self.metrics:
            raise ConfigError(f"task.metrics=[]: name one of {', '.join(self.scored_by)}")

    @property
    def head_options(self) -> dict[str, Any]:
        """The options of the model's configuration that the head needs."""
        return {
            "num_labels": len(CLASSES),
            "id2label": dict(enumerate(CLASSES)),
            "label2id": {name: number for number, name in enumerate(CLASSES)},
        }

    def load(self) -> DatasetDict:
        """Return the questions of every split, in the columns of `Question`.

        Raises:
            DataError: the data is malformed or lacks a column.
            SourceError: the data set cannot be obtained.
        """
        hub = (self.name, self.hub, self.hub_config, self.revision)
        read = read_superglue(self.path, self.files, hub, self.hub_splits, self._columns)
        splits = {
            split: _dataset(self._questions(rows, nested=self.path is not None))
            for split, rows in read.items()
        }
        return first_examples(DatasetDict(splits), self.limit)

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every text with each of its candidates.

        The boolean column `questions` is true for the first candidate of a question, and
        `whole_length` is the number of tokens before truncation. All splits but train also have
        what `predictions` reads: the question's id, the candidate, and the true answers.

        Raises:
            DataError: a text has a control token that the tokenizer cannot read as text.
        """
        return DatasetDict(
            {
                split: rows.map(
                    lambda batch, scored=split != "train": self._encode(batch, tokenizer, scored),
                    batched=True,
                    remove_columns=rows.column_names,
                ).cast_column("labels", ClassLabel(names=list(CLASSES)))
                for split, rows in splits.items()
            }
        )

    @property
    def inputs(self) -> Sequence[str]:
        """The columns of a new row in the form of the hub."""
        return self.layouts[0]

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of new rows in the form of the hub, and in that of the files."""
        raise NotImplementedError

    def new_rows(self, rows: Rows) -> list[NewRow]:
        """Return the questions of new rows, of which the labels and answers are not read.

        Raises:
            DataError: a value is missing or of the wrong type.
        """
        nested = "idx" in rows.values[0]
        found = self._questions(rows, nested=nested, labelled=False)
        return [NewRow(each["row"], each, each["id"] if nested else None) for each in found]

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokenise the questions of new rows in the same way as a split that is scored."""
        return self.encode(DatasetDict(input=rows), tokenizer)["input"]

    def decoded(self, output: EvalPrediction, encoded: Dataset) -> list[Record]:
        """Return one record per question, without an id and the truth.

        Args:
            output: logits of shape (candidates, 2).
            encoded: the candidates from `encode_inputs`.
        """
        kept = ("prediction", "candidates", "right")
        return [
            {key: record[key] for key in kept}
            for record in self._records(output, encoded, labelled=False)
        ]

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Return the collator, which pads a batch to its longest example."""
        return DataCollatorWithPadding(tokenizer)

    def predictions(self, output: EvalPrediction, rows: Dataset) -> list[Record]:
        """Return one record per question, in their order.

        Args:
            output: logits of shape (candidates, 2).
            rows: the encoded split.
        """
        return self._records(output, rows, labelled=True)

    def _records(self, output: EvalPrediction, rows: Dataset, *, labelled: bool) -> list[Record]:
        right = softmax(np.asarray(output.predictions, np.float64), axis=-1)[:, 1]
        named = rows.select_columns(["id", "candidate", "labels", "answers"])
        pairs = zip(named, right.tolist(), strict=True)
        grouped = groupby(pairs, lambda pair: pair[0]["id"])
        return [self._record(list(each), labelled) for _, each in grouped]

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of the records from `predictions`, the main one first."""
        raise NotImplementedError

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return, for each metric that is a mean over the questions, its values."""
        raise NotImplementedError

    def outputs_are_constant(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether the probability of "right" is the same for all candidates."""
        return is_constant([share for record in records for share in record["right"]])

    @property
    def _columns(self) -> list[str]:
        raise NotImplementedError

    def _questions(self, rows: Rows, *, nested: bool, labelled: bool = True) -> Sequence[Question]:
        raise NotImplementedError

    def _predicted(self, candidates: Sequence[str], right: Sequence[float]) -> str:
        """Return the candidate that is most probably right, the first of equals."""
        return candidates[int(np.argmax(right))]

    def _record(
        self, candidates: Sequence[tuple[Mapping[str, Any], float]], labelled: bool
    ) -> Record:
        first = candidates[0][0]
        texts = [row["candidate"] for row, _ in candidates]
        right = [share for _, share in candidates]
        return {
            "id": first["id"],
            "prediction": self._predicted(texts, right),
            **(self._truth([row for row, _ in candidates]) if labelled else {}),
            "candidates": texts,
            "right": right,
        }

    def _truth(self, rows: Sequence[Mapping[str, Any]]) -> Record:
        raise NotImplementedError

    def _encode(
        self, batch: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, scored: bool
    ) -> dict[str, Any]:
        question_of = [n for n, found in enumerate(batch["candidates"]) for _ in found]
        texts = [batch["text"][question] for question in question_of]
        statements = [statement for found in batch["statements"] for statement in found]
        encoded = tokenizer(texts, statements, truncation=False, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        if max(lengths, default=0) > self.max_length:
            encoded = tokenizer(texts, statements, truncation=True, max_length=self.max_length)
        places = [f"{self.name}: question {batch['id'][question]!r}" for question in question_of]
        pairs = list(zip(texts, statements, strict=True))
        refuse_control_tokens(tokenizer, encoded["input_ids"], pairs, places)
        firsts = [n == 0 or question_of[n - 1] != each for n, each in enumerate(question_of)]
        columns = {
            **encoded,
            "labels": [int(right) for found in batch["right"] for right in found],
            "whole_length": lengths,
            "questions": firsts,
        }
        if not scored:
            return columns
        return columns | {
            "id": [batch["id"][question] for question in question_of],
            "candidate": [candidate for found in batch["candidates"] for candidate in found],
            "answers": [batch["answers"][question] for question in question_of],
        }


def _dataset(questions: Sequence[Question]) -> Dataset:
    values: list[Mapping[str, Any]] = [*questions]
    columns = [{name: each[name] for name in _FEATURES} for each in values]
    return Dataset.from_list(columns, _FEATURES)
