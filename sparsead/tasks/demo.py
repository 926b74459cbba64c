"""Tasks that the project generates, in the schema of real ones: no download and no files."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import Dataset, DatasetDict

from sparsead.registry import TASKS
from sparsead.tasks.demo_pairs import paraphrase_pairs
from sparsead.tasks.demo_stories import questions, summaries
from sparsead.tasks.glue import SPLITS, GlueTask
from sparsead.tasks.squad import SquadTask
from sparsead.tasks.text_to_text import TextToText


@TASKS.register("demo_pairs")
@dataclass(frozen=True)
class DemoPairs(GlueTask):
    """Paraphrase pairs in the schema of MRPC."""

    def _download(self) -> DatasetDict:
        rows = {split: paraphrase_pairs(split) for split in SPLITS}
        return DatasetDict({split: self._dataset(rows[split]) for split in SPLITS})


@TASKS.register("demo_questions")
@dataclass(frozen=True)
class DemoQuestions(SquadTask):
    """Questions about generated stories in the schema of SQuAD."""

    def _download(self) -> DatasetDict:
        return DatasetDict({split: Dataset.from_list(questions(split)) for split in SPLITS})


@TASKS.register("demo_summaries")
@dataclass(frozen=True)
class DemoSummaries(TextToText):
    """Summaries of generated stories in the schema of XSum."""

    def _download(self) -> DatasetDict:
        return DatasetDict(
            {s: self._named(self.name, Dataset.from_list(summaries(s))) for s in self._splits()}
        )
