"""The base of tasks that predict a class or a number for a sentence or a pair of sentences."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Value
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from sparsead.errors import ConfigError, unknown
from sparsead.tasks.control_tokens import refuse_control_tokens
from sparsead.tasks.examples import ExampleError
from sparsead.tasks.metrics import TaskScores
from sparsead.tasks.rows import Rows, class_name, is_blank
from sparsead.tasks.splits import first_examples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentenceTask:
    """Classification of, or regression on, a sentence or a pair of sentences.

    Args:
        name: name of the task.
        inputs: the text columns, one or two.
        labels: names of the classes, in the order of their numbers; empty for regression.
        metrics: names of the metrics, the main one first.
        max_length: greatest number of tokens of an example, special ones included; longer examples
            are truncated.
        limit: number of examples of each split to use, from the first on; None uses all.
        path: folder of the files; None if the data comes from elsewhere.
        files: split → file below `path`.
        regression: whether a number is predicted instead of a class.
    """

    name: str
    inputs: Sequence[str]
    labels: Sequence[Any]
    metrics: Sequence[str]
    max_length: int
    limit: int | None = None
    path: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    regression: bool = False

    head = AutoModelForSequenceClassification

    @property
    def head_options(self) -> dict[str, Any]:
        """The options of the model's configuration that the head needs."""
        if self.regression:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "num_labels": len(self.classes),
            "id2label": dict(enumerate(self.classes)),
            "label2id": {label: number for number, label in enumerate(self.classes)},
        }

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their numbers."""
        return [class_name(label) for label in self.labels]

    @property
    def columns(self) -> Sequence[str]:
        """Names that the columns of text have in the splits, in the order of `inputs`."""
        return self.inputs

    def load(self) -> DatasetDict:
        """Return train, validation and further splits, with columns `columns` and `label`.

        Raises:
            ConfigError: a metric is unknown, or not defined for this number of classes, two
                classes have one name, or the data does not have a column of `inputs`.
            DataError: a local file is missing or malformed.
            SourceError: the data set cannot be loaded from the hub.
        """
        if self.labels and len({*self.classes}) < len(self.classes):
            raise ConfigError(f"task.labels={list(self.labels)}: names a class twice")
        splits = self._splits()
        self._check_columns(splits)
        self._check_metrics()
        return first_examples(splits, self.limit)

    def encode(self, splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
        """Tokenise every split.

        Returns:
            The tokenizer's columns, `labels` if the rows have a label, and `whole_length`: the
            number of tokens of an example before it is truncated to `max_length`. A split with
            blank texts also has `empty_text`, which is true for them.

        Raises:
            DataError: a text is empty, and the tokenizer adds no tokens of its own, or it has a
                control token that the tokenizer cannot read as text.
        """
        encoded = DatasetDict(
            {
                split: rows.map(
                    partial(self._tokenise, split, tokenizer),
                    batched=True,
                    with_indices=True,
                    remove_columns=[name for name in rows.column_names if name != "label"],
                ).rename_columns({"label": "labels"} if "label" in rows.column_names else {})
                for split, rows in splits.items()
            }
        )
        for split, rows in encoded.items():
            _refuse_no_tokens(self._place(split), rows["whole_length"])
        return DatasetDict(
            {split: self._with_blank_texts(splits[split], rows) for split, rows in encoded.items()}
        )

    def encode_inputs(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokenise rows without labels in the same way as `encode`."""
        names = zip(self.columns, self.inputs, strict=True)
        texts = Dataset.from_dict({column: rows[given][:] for column, given in names})
        return self.encode(DatasetDict(input=texts), tokenizer)["input"]

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Return the collator, which pads a batch to its longest example."""
        return DataCollatorWithPadding(tokenizer)

    def scores(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the metrics of logits of shape (examples, classes), the main one first."""
        values: dict[str, float] = self._metric.compute(
            predictions=self.predicted(np.asarray(prediction.predictions)),
            references=prediction.label_ids,
        )
        return values

    def predictions(self, output: EvalPrediction, rows: Dataset) -> list[dict[str, Any]]:
        """Return what `decoded` does, with `label`, the true class or number, in each record.

        `id` is the number of the example in its split, from 0.
        """
        labels = np.asarray(output.label_ids).tolist()
        true = labels if self.regression else [self.classes[label] for label in labels]
        decoded = self.decoded(output, rows)
        return [
            {"id": str(number), "label": label, **record}
            for number, (label, record) in enumerate(zip(true, decoded, strict=True))
        ]

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """For each metric, the main one first, whether a higher value is better."""
        return self._metric.higher_is_better

    def decoded(self, output: EvalPrediction, _encoded: Dataset) -> list[dict[str, Any]]:
        """Return the predicted number of each row, or its class and every class's probability.

        Args:
            output: logits of shape (rows, classes), or (rows, 1) for regression.
        """
        logits = np.asarray(output.predictions, np.float64)
        predicted = self.predicted(logits)
        if self.regression:
            return [{"prediction": float(number)} for number in predicted]
        probabilities = softmax(logits, axis=-1).tolist()
        return [
            {
                "prediction": self.classes[number],
                "probabilities": dict(zip(self.classes, shares, strict=True)),
            }
            for number, shares in zip(predicted, probabilities, strict=True)
        ]

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the predicted class numbers, or numbers, for logits of shape (examples, n)."""
        if self.regression:
            return logits.reshape(len(logits)).astype(float)
        return np.asarray(logits.argmax(axis=-1))

    def _place(self, split: str) -> str:
        """Return a split for messages: its name, after the file that it was read from."""
        if self.path is None or split not in self.files:
            return split
        return f"{Path(self.path) / self.files[split]}: {split}"

    def _splits(self) -> DatasetDict:
        raise NotImplementedError

    def _check_columns(self, splits: DatasetDict) -> None:
        for rows in splits.values():
            for column in self.columns:
                if column not in rows.column_names:
                    texts = {*rows.column_names} - {"label", "idx"}
                    raise ConfigError(unknown("task.inputs", column, texts))

    @property
    def _metric_names(self) -> Sequence[str]:
        return self.metrics

    @cached_property
    def _metric(self) -> TaskScores:
        return TaskScores(self._metric_names, self.regression)

    def _check_metrics(self) -> None:
        """Refuse wrong metrics before the training, and tell which class f1 refers to."""
        if "f1" not in self._metric.chosen:
            return
        if len(self.classes) != 2:
            raise ConfigError("task.metrics=f1: is for two classes; did you mean f1_macro?")
        log.info("f1 is that of the class %s; the other is %s", *reversed(self.classes))

    def _tokenise(
        self,
        split: str,
        tokenizer: PreTrainedTokenizerBase,
        rows: Mapping[str, list[Any]],
        indices: Sequence[int],
    ) -> dict[str, list[Any]]:
        texts = [rows[column] for column in self.columns]
        encoded = tokenizer(*texts, truncation=False, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        if max(lengths) > self.max_length:
            encoded = tokenizer(*texts, truncation=True, max_length=self.max_length)
        where = self._place(split)
        places = [f"{where}: example {index + 1}" for index in indices]
        examples = list(zip(*texts, strict=True))
        refuse_control_tokens(tokenizer, encoded["input_ids"], examples, places)
        return {**encoded, "whole_length": lengths}

    def _with_blank_texts(self, texts: Dataset, encoded: Dataset) -> Dataset:
        """Mark examples with a blank text, which a wrong `task.inputs` gives."""
        examples = zip(*(texts[column][:] for column in self.columns), strict=True)
        blank = [any(map(is_blank, example)) for example in examples]
        return encoded.add_column("empty_text", blank) if any(blank) else encoded

    def _dataset(self, columns: Mapping[str, Sequence[Any]]) -> Dataset:
        """Return the rows with their label, if there is one, cast to the task's type."""
        dataset = Dataset.from_dict(dict(columns))
        if "label" not in columns:
            return dataset
        kind = Value("float32") if self.regression else ClassLabel(names=self.classes)
        return dataset.cast_column("label", kind)

    def _typed(self, rows: Rows, classes: Sequence[str]) -> Dataset:
        """Check a file's rows, and number their labels, which the file writes as `classes`."""
        columns: dict[str, Sequence[Any]] = {text: rows.texts(text) for text in self.columns}
        if rows.values and "label" in rows.values[0]:
            numbers = {name: number for number, name in enumerate(classes)}
            labels = rows.numbers("label") if self.regression else rows.classes("label", numbers)
            columns["label"] = labels
        return self._dataset(columns)


def _refuse_no_tokens(split: str, lengths: Sequence[int]) -> None:
    if 0 in lengths:
        raise ExampleError(
            f"{split}: example {list(lengths).index(0) + 1}",
            "is empty, and the backbone's tokenizer adds no token of its own that could stand for "
            "it; leave it out",
        )
