"""The tasks of SuperGLUE that choose among candidates: COPA, MultiRC and ReCoRD.

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
from sklearn.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from sparsead.config.values import check_hub_splits
from sparsead.errors import ConfigError, unknown
from sparsead.tasks.answer_scores import AnswerScores
from sparsead.tasks.contract import TASKS, Record
from sparsead.tasks.control_tokens import refuse_control_tokens
from sparsead.tasks.questions import Question, copa_questions, multirc_questions, record_questions
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
            SourceError: the data set cannot be had.
        """
        hub = (self.name, self.hub, self.hub_config, self.revision)
        read = read_superglue(self.path, self.files, hub, self.hub_splits, self._columns)
        splits = {
            split: Dataset.from_list([dict(each) for each in self._questions(rows)], _FEATURES)
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

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """Return the collator, which pads a batch to its longest example."""
        return DataCollatorWithPadding(tokenizer)

    def predictions(self, output: EvalPrediction, rows: Dataset) -> list[Record]:
        """Return one record per question, in their order.

        Args:
            output: logits of shape (candidates, 2).
            rows: the encoded split.
        """
        right = softmax(np.asarray(output.predictions, np.float64), axis=-1)[:, 1]
        named = rows.select_columns(["id", "candidate", "labels", "answers"])
        pairs = zip(named, right.tolist(), strict=True)
        return [self._record(list(each)) for _, each in groupby(pairs, lambda p: p[0]["id"])]

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of the records from `predictions`, the main one first."""
        raise NotImplementedError

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return, for each metric that is a mean over the questions, its values."""
        raise NotImplementedError

    @property
    def _columns(self) -> list[str]:
        raise NotImplementedError

    def _questions(self, rows: Rows) -> Sequence[Question]:
        raise NotImplementedError

    def _predicted(self, candidates: Sequence[str], right: Sequence[float]) -> str:
        """Return the candidate that is most probably right, the first of equals."""
        return candidates[int(np.argmax(right))]

    def _record(self, candidates: Sequence[tuple[Mapping[str, Any], float]]) -> Record:
        first = candidates[0][0]
        texts = [row["candidate"] for row, _ in candidates]
        right = [share for _, share in candidates]
        return {
            "id": first["id"],
            "prediction": self._predicted(texts, right),
            **self._truth([row for row, _ in candidates]),
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


@TASKS.register("copa")
@dataclass(frozen=True)
class CopaTask(CandidateTask):
    """COPA: which of two sentences is the cause, or the result, of a third one?"""

    scored_by = ("accuracy",)
    _columns = ["premise", "question", "choice1", "choice2", "label", "idx"]  # noqa: RUF012

    def _questions(self, rows: Rows) -> Sequence[Question]:
        return copa_questions(rows)

    def _truth(self, rows: Sequence[Mapping[str, Any]]) -> Record:
        return {"label": next(row["candidate"] for row in rows if row["labels"])}

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the share of the questions whose right choice has the higher probability."""
        return {"accuracy": float(np.mean(self.example_scores(records)["accuracy"]))}

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return 1 for each question that is answered rightly, else 0."""
        return {"accuracy": [float(r["prediction"] == r["label"]) for r in records]}


@TASKS.register("multirc")
@dataclass(frozen=True)
class MultiRcTask(CandidateTask):
    """MultiRC: which answers to a question about a paragraph are right? There may be several.

    A record's `prediction` and `label` have one digit for each answer, 1 where it is right.
    """

    scored_by = ("f1_answers", "exact_match")

    @property
    def _columns(self) -> list[str]:
        if self.path is not None:
            return ["idx", "passage.text", "passage.questions"]
        return ["paragraph", "question", "answer", "idx.paragraph", "idx.question", "label"]

    def _questions(self, rows: Rows) -> Sequence[Question]:
        return multirc_questions(rows, nested=self.path is not None)

    def _predicted(self, candidates: Sequence[str], right: Sequence[float]) -> str:
        return "".join("1" if share > 0.5 else "0" for share in right)

    def _truth(self, rows: Sequence[Mapping[str, Any]]) -> Record:
        return {"label": "".join(str(row["labels"]) for row in rows)}

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return F1 over the answers of all questions, and the share of wholly right questions.

        They are F1a and EM of Khashabi et al. (2018).
        """
        true, predicted = (
            [int(digit) for record in records for digit in record[key]]
            for key in ("label", "prediction")
        )
        found = {
            "f1_answers": float(f1_score(true, predicted, zero_division=0)),
            "exact_match": float(np.mean([r["prediction"] == r["label"] for r in records])),
        }
        return {metric: found[metric] for metric in self.metrics}

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return 1 for each question whose every answer is judged rightly, else 0."""
        if "exact_match" not in self.metrics:
            return {}
        return {"exact_match": [float(r["prediction"] == r["label"]) for r in records]}


@TASKS.register("record")
@dataclass(frozen=True)
class RecordTask(CandidateTask):
    """ReCoRD: which entity of a news article fills the gap in a statement about it?"""

    scored_by = ("f1", "exact_match")

    @property
    def _columns(self) -> list[str]:
        if self.path is not None:
            return ["idx", "passage.text", "passage.entities", "qas"]
        return ["passage", "query", "entities", "answers", "idx.passage", "idx.query"]

    def _questions(self, rows: Rows) -> Sequence[Question]:
        return record_questions(rows, nested=self.path is not None)

    def _truth(self, rows: Sequence[Mapping[str, Any]]) -> Record:
        return {"references": rows[0]["answers"]}

    def record_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return F1 and exact match of SQuAD, against the best of each question's answers."""
        values = self.example_scores(records)
        return {metric: float(np.mean(each)) for metric, each in values.items()}

    def example_scores(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Return each metric of each question."""
        return AnswerScores(self.metrics).each(
            [record["prediction"] for record in records],
            [record["references"] for record in records],
        )
