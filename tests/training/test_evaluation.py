"""Evaluation in batches of like token count: the same scores and loss as one row at a time."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import EvalPrediction, PreTrainedModel

from composing import compose
from sparsead.assembly.inputs import read_inputs
from sparsead.training.evaluation import count_tokens, padded_columns, restore_order, token_batches
from sparsead.training.inference import model_outputs
from sparsead.training.trainer import SparseadTrainer, build_trainer
from sparsead.training.unpadded import unpad


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 8))
def test_a_batch_is_no_larger_than_rows_of_mean_length(lengths: list[int], size: int) -> None:
    batches = token_batches(lengths, size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    budget = size * sum(lengths) / max(len(lengths), 1)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    values = np.array([number for batch in batches for number in batch])
    if batches:
        assert restore_order((values, None), batches)[0].tolist() == list(range(len(lengths)))


def test_the_tokens_of_a_target_text_count_where_it_is_padded() -> None:
    rows = Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [[5, 6, 7], [8]]}).select(
        [1, 0]
    )
    assert count_tokens(rows) == [1, 2]
    assert count_tokens(rows, padded_columns(rows)) == [2, 5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "task"),
    [("tiny-bert", "demo_mrpc"), ("tiny-bart", "demo_stsb"), ("tiny-bart", "demo_xsum")],
)
def test_batches_change_neither_the_outputs_nor_the_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, backbone: str, task: str
) -> None:
    trainer, rows = untrained(tmp_path, backbone, task)
    singly = [alone(trainer, rows, index) for index in range(len(rows))]
    assert len(list(trainer.get_eval_dataloader())) < len(rows) / 2
    assert trainer.get_eval_dataloader() is trainer.get_eval_dataloader()
    shares = np.array([terms for _, terms, _ in singly])
    mean = float(np.array([loss for loss, _, _ in singly]) @ shares / shares.sum())
    with caplog.at_level(logging.INFO):
        metrics = trainer.evaluate()
    assert not [each for each in caplog.records if each.name.startswith("accelerate")]
    assert metrics["eval_loss"] == pytest.approx(mean, abs=1e-5)
    if task == "demo_xsum":
        return
    logits = np.concatenate([logits for _, _, logits in singly])
    output = evaluated(trainer, rows)
    np.testing.assert_allclose(output.predictions, logits, atol=1e-5)
    np.testing.assert_array_equal(output.label_ids, np.array(rows["labels"]))
    model, collator = model_of(trainer), trainer.data_collator
    plain = model_outputs(model, rows, collator, batch_size=4, precision="fp32")
    np.testing.assert_array_equal(plain.predictions, output.predictions)


def evaluated(trainer: SparseadTrainer, rows: Dataset) -> EvalPrediction:
    """Return the output of the trainer's evaluation of the rows, which is then scored."""
    seen: list[EvalPrediction] = []

    def score(output: EvalPrediction) -> dict[str, float]:
        seen.append(output)
        return {}

    trainer.scorer_of = lambda _rows, _split: score
    trainer.evaluate(rows, metric_key_prefix="rows")
    return seen[0]


def untrained(folder: Path, backbone: str, task_name: str) -> tuple[SparseadTrainer, Dataset]:
    spec = compose(
        *(f"backbone={backbone}", f"task={task_name}", "task.limit=23", "device=cpu"),
        *("protocol.eval_batch_size=4", f"outputs={folder}"),
    )
    read = read_inputs(spec)
    task, tokenizer = read.task, read.backbone.tokenizer
    model = read.backbone.model(task.head, task.head_options, spec.seed)
    collator = unpad(model, task.collator(tokenizer), "fp32")
    trainer = build_trainer(
        spec, model, read.data, tokenizer, task, collator, folder, precision="fp32"
    )
    return trainer, read.data["validation"]


def model_of(trainer: SparseadTrainer) -> PreTrainedModel:
    """The trainer's model, to be evaluated."""
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


@torch.no_grad()
def alone(trainer: SparseadTrainer, rows: Dataset, index: int) -> tuple[float, int, np.ndarray]:
    """Return the loss of one row, the number of terms that it averages, and the logits."""
    batch = trainer.data_collator([trainer._remove_unused_columns(rows)[index]])
    output = model_of(trainer)(**batch)
    terms = len(rows[index]["labels"]) if len(padded_columns(rows)) == 2 else 1
    return float(output.loss), terms, output.logits.numpy()
