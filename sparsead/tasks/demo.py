"""Tasks that the project generates, in the schema of real ones: no download and no files."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import DatasetDict

from sparsead.registry import TASKS
from sparsead.tasks.demo_pairs import paraphrase_pairs
from sparsead.tasks.glue import SPLITS, GlueTask


@TASKS.register("demo_pairs")
@dataclass(frozen=True)
class DemoPairs(GlueTask):
    """Paraphrase pairs in the schema of MRPC."""

    def _download(self) -> DatasetDict:
        rows = {split: paraphrase_pairs(split) for split in SPLITS}
        return DatasetDict({split: self._dataset(rows[split]) for split in SPLITS})
