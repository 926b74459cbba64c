"""Tasks that the project generates, in the schema of real ones: no download and no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets import Dataset, DatasetDict

from sparsead.tasks.contract import TASKS
from sparsead.tasks.demo_pairs import paraphrase_pairs
from sparsead.tasks.demo_sentences import acceptability, entailment, similarity
from sparsead.tasks.demo_stories import questions, summaries
from sparsead.tasks.sentences import SentenceTask
from sparsead.tasks.squad import SPLITS, SquadTask
from sparsead.tasks.text_to_text import TextToText


@dataclass(frozen=True)
class GeneratedTask(SentenceTask):
    """A task whose rows `_rows` generates."""

    def _rows(self, split: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _splits(self) -> DatasetDict:
        drawn = {split: self._rows(split) for split in ("train", "validation")}
        return DatasetDict(
            {
                split: self._dataset({name: [row[name] for row in rows] for name in rows[0]})
                for split, rows in drawn.items()
            }
        )


@TASKS.register("demo_pairs")
class DemoPairs(GeneratedTask):
    """Paraphrase pairs in the schema of MRPC."""

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return paraphrase_pairs(split)


@TASKS.register("demo_cola")
class DemoCola(GeneratedTask):
    """Grammatical and ungrammatical sentences in the schema of CoLA."""

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return acceptability(split)


@TASKS.register("demo_stsb")
class DemoStsb(GeneratedTask):
    """Pairs of graded similarity in the schema of STS-B."""

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return similarity(split)


@TASKS.register("demo_rte")
class DemoRte(GeneratedTask):
    """Premises and hypotheses in the schema of RTE."""

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return entailment(split)


@TASKS.register("demo_questions")
class DemoQuestions(SquadTask):
    """Questions about generated stories in the schema of SQuAD."""

    def _download(self) -> DatasetDict:
        return DatasetDict({split: Dataset.from_list(questions(split)) for split in SPLITS})


@TASKS.register("demo_summaries")
class DemoSummaries(TextToText):
    """Summaries of generated stories in the schema of XSum."""

    def _download(self) -> DatasetDict:
        return DatasetDict(
            {s: self._named(self.name, Dataset.from_list(summaries(s))) for s in self._splits()}
        )
