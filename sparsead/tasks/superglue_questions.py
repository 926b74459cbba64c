"""The tasks of SuperGLUE that choose among candidates: COPA, MultiRC and ReCoRD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from sparsead.tasks.answer_scores import AnswerScores
from sparsead.tasks.candidates import CandidateTask
from sparsead.tasks.contract import TASKS, Record
from sparsead.tasks.metrics import is_constant
from sparsead.tasks.questions import Question, copa_questions, multirc_questions, record_questions
from sparsead.tasks.rows import Rows

_MULTIRC_FILE = ["idx", "passage.text", "passage.questions"]
_RECORD_FILE = ["idx", "passage.text", "passage.entities", "qas"]


@TASKS.register("copa")
@dataclass(frozen=True)
class CopaTask(CandidateTask):
    """COPA: which of two sentences is the cause, or the result, of a third one?"""

    scored_by = ("accuracy",)
    _columns = ["premise", "question", "choice1", "choice2", "label", "idx"]  # noqa: RUF012

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of a new row, which are the same everywhere."""
        return [["premise", "question", "choice1", "choice2"]]

    def _questions(self, rows: Rows, *, nested: bool, labelled: bool = True) -> Sequence[Question]:
        return copa_questions(rows, labelled=labelled)

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
            return _MULTIRC_FILE
        return ["paragraph", "question", "answer", "idx.paragraph", "idx.question", "label"]

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of an answer, and of a paragraph."""
        return [["paragraph", "question", "answer"], _MULTIRC_FILE]

    def _questions(self, rows: Rows, *, nested: bool, labelled: bool = True) -> Sequence[Question]:
        return multirc_questions(rows, nested=nested, labelled=labelled)

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

    def outputs_are_constant(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether all answers are judged right, or all wrong."""
        return is_constant("".join(record["prediction"] for record in records))

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
            return _RECORD_FILE
        return ["passage", "query", "entities", "answers", "idx.passage", "idx.query"]

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of a statement, and of an article."""
        return [["passage", "query", "entities"], _RECORD_FILE]

    def _questions(self, rows: Rows, *, nested: bool, labelled: bool = True) -> Sequence[Question]:
        return record_questions(rows, nested=nested, labelled=labelled)

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
