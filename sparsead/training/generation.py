"""Generate texts for whole splits; they are written to disk after each batch, to resume from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, DatasetDict
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BatchEncoding,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sparsead.backbones.heads import gives_next_token
from sparsead.progress import stage
from sparsead.pruning.examples import IGNORED_LABEL
from sparsead.runs.files import write_atomically
from sparsead.tasks.contract import Collator, GeneratesText, Record
from sparsead.training.evaluation import count_tokens, token_batches
from sparsead.training.inference import autocast
from sparsead.training.prediction import (
    check_scores,
    format_json_lines,
    read_complete_records,
    unfinished_predictions,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TextGenerator:
    """Generates texts with a model and a task's generation settings.

    Attributes:
        model: a model whose head can generate, on the device to compute on.
        task: the task, with the generation settings.
        tokenizer: the backbone's tokenizer.
        collator: makes batches of encoded rows.
        batch_size: size of a batch, as the number of rows of mean length.
        precision: "fp32" or "bf16".
    """

    model: PreTrainedModel
    task: GeneratesText
    tokenizer: PreTrainedTokenizerBase
    collator: Collator
    batch_size: int
    precision: str

    def batches(self, rows: Dataset, processes: int = 1) -> list[list[int]]:
        """Group encoded rows into batches of about equal token count, the longest rows first.

        Args:
            rows: the encoded rows.
            processes: number of processes that share each batch.

        Returns:
            Indices of the rows of each batch.
        """
        generated = int(self.task.generation.get("max_new_tokens", 0))
        given = list(map(len, list_prompts(rows))) if self._continues else count_tokens(rows)
        lengths = [length + generated for length in given]
        return token_batches(lengths, self.batch_size * processes)

    def texts(self, rows: Dataset) -> list[str]:
        """Return a generated text for each of the encoded rows, which form one batch."""
        if not len(rows):
            return []
        generator = cast(Any, self.model)  # only classes with a generating head have `generate`
        inputs = self._inputs(rows)
        config = generation_config(self.model, self.task.generation)
        if self._continues:
            config.eos_token_id = self.tokenizer.eos_token_id
            config.pad_token_id = self.tokenizer.pad_token_id
        self.model.eval()
        with autocast(self.model, self.precision):
            ids = generator.generate(**inputs.to(self.model.device), generation_config=config)
        given = inputs["input_ids"].shape[1] if self._continues else 0
        texts = self.tokenizer.batch_decode(ids[:, given:], skip_special_tokens=True)
        return [text.strip() for text in texts]

    @property
    def _continues(self) -> bool:
        """Whether the model is a decoder alone, whose text is what follows the prompt."""
        return gives_next_token(type(self.model))

    def _inputs(self, rows: Dataset) -> BatchEncoding:
        """Return a batch; prompts are padded on the left, so that each text follows its own."""
        if not self._continues:
            names = self.tokenizer.model_input_names
            columns = [name for name in names if name in rows.column_names]
            batch: BatchEncoding = self.collator(list(rows.select_columns(columns)))
            return batch
        prompts = [torch.tensor(prompt) for prompt in list_prompts(rows)]
        padded = partial(pad_sequence, batch_first=True, padding_side="left")
        return BatchEncoding(
            {
                "input_ids": padded(prompts, padding_value=self.tokenizer.pad_token_id),
                "attention_mask": padded([torch.ones_like(prompt) for prompt in prompts]),
            }
        )


def list_prompts(rows: Dataset) -> list[list[int]]:
    """Return the tokens of each encoded row before the first one that the loss counts."""
    pairs = zip(rows["input_ids"], rows["labels"], strict=True)
    return [
        [token for token, label in zip(tokens, labels, strict=True) if label == IGNORED_LABEL]
        for tokens, labels in pairs
    ]


def generate_splits(
    generator: TextGenerator,
    data: DatasetDict,
    folder: Path,
    splits: Sequence[str],
    outputs_are_nan: bool,
) -> dict[str, dict[str, float]]:
    """Generate and store a text for each example of the splits, and return each split's scores.

    If the model's outputs are nan, its texts mean nothing, and their scores are nan.
    """
    scores: dict[str, dict[str, float]] = {}
    for split in splits:
        file = unfinished_predictions(folder, split)
        generate_file(generator, data[split], file)
        scores[split] = check_scores(generator.task.record_scores(read_complete_records(file)))
        if outputs_are_nan:
            log.warning("%s not defined: outputs of the model are nan", ", ".join(scores[split]))
            scores[split] = dict.fromkeys(scores[split], math.nan)
        line = ", ".join(f"{name} {100 * value:z.2f}" for name, value in scores[split].items())
        log.info("%s: %s", split, line)
    return scores


def generate_file(generator: TextGenerator, rows: Dataset, file: Path) -> None:
    """Generate a text for each row, and append the texts to `file` after each batch.

    The finished file is in the order of the rows. An interrupted generation resumes with the
    batches that are not complete in the file, whatever the order of its texts. Only complete
    batches are kept, because padding depends on the whole batch: a row thus gives the same text
    whether or not the generation was interrupted.

    Args:
        generator: generates the texts.
        rows: an encoded split with the columns `id`, whose values are unique, and `reference`.
        file: JSON lines with the keys `id`, `prediction` and `reference`.
    """
    state = PartialState()
    batches = generator.batches(rows, state.num_processes)
    kept, left = _divide(batches, _usable(read_complete_records(file), rows), rows["id"][:])
    state.wait_for_everyone()
    if state.is_main_process:
        write_atomically(file, format_json_lines(kept))
    if kept:
        log.info("%s: resumes after the %d texts that it already contains", file.name, len(kept))
    with stage(f"generating {file.stem}", len(left)) as shown:
        for batch in (rows.select(indices) for indices in left):
            with state.split_between_processes(list(range(len(batch)))) as share:
                texts = gather_object(generator.texts(batch.select(share)))
            if state.is_main_process:
                _append(file, batch, texts)
            shown.advance()
    if state.is_main_process:
        _put_in_order(file, rows)
    state.wait_for_everyone()


def generate_texts(generator: TextGenerator, rows: Dataset) -> list[str]:
    """Return a generated text for each of the encoded rows, in their order."""
    texts: dict[int, str] = {}
    for batch in generator.batches(rows):
        texts |= zip(batch, generator.texts(rows.select(batch)), strict=True)
    return [texts[index] for index in range(len(rows))]


def generation_config(model: PreTrainedModel, settings: Mapping[str, Any]) -> GenerationConfig:
    """Return the task's settings and the backbone's special tokens; its other defaults are dropped.

    They differ between backbones, and would change the scores without being part of the run.
    """
    own = model.generation_config.to_dict() if model.generation_config else {}
    tokens = {key: value for key, value in own.items() if key.endswith("_token_id")}
    return GenerationConfig(**tokens | dict(settings))


def _usable(written: Sequence[Record], rows: Dataset) -> list[Record]:
    """Return the records up to the first that is not the text of one more of these rows."""
    left = dict(zip(rows["id"], rows["reference"], strict=True))
    usable = []
    for record in written:
        name, text = str(record.get("id")), str(record.get("prediction"))
        if name not in left or record != {
            "id": name,
            "prediction": text,
            "reference": left.pop(name),
        }:
            break
        usable.append(record)
    return usable


def _divide(
    batches: Sequence[list[int]], written: Sequence[Record], names: Sequence[str]
) -> tuple[list[Record], list[list[int]]]:
    """Return the records of the batches that are complete, and the batches that are not."""
    found = {record["id"]: record for record in written}
    kept: list[Record] = []
    left: list[list[int]] = []
    for batch in batches:
        records = [found[names[row]] for row in batch if names[row] in found]
        if len(records) == len(batch):
            kept += records
        else:
            left.append(batch)
    return kept, left


def _put_in_order(file: Path, rows: Dataset) -> None:
    records = {record["id"]: record for record in read_complete_records(file)}
    write_atomically(file, format_json_lines(records[name] for name in rows["id"]))


def _append(file: Path, rows: Dataset, texts: list[str]) -> None:
    records = [
        {"id": row["id"], "prediction": text, "reference": row["reference"]}
        for row, text in zip(rows.select_columns(["id", "reference"]), texts, strict=True)
    ]
    with file.open("a", encoding="utf-8") as stream:
        stream.write(format_json_lines(records))
