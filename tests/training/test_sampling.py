from __future__ import annotations

from collections import Counter

import torch
from datasets import Dataset
from transformers import default_data_collator

from sparsead.training.sampling import SeededOrder, scoring_batches, scoring_sample
from tiny_models import tiny_classifier

LENGTHS = [(17 * number) % 50 + 3 for number in range(1000)]


def order(seed: int, epoch: int) -> list[int]:
    sampler = SeededOrder(LENGTHS, 20, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    first = order(1, 0)
    torch.rand(10)
    assert order(1, 0) == first
    assert sorted(first) == list(range(1000))
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_a_batch_holds_examples_of_like_length() -> None:
    indices = order(1, 0)
    batches = [[LENGTHS[i] for i in indices[at : at + 20]] for at in range(0, 1000, 20)]
    padding = sum(20 * max(batch) - sum(batch) for batch in batches)
    assert padding < 0.1 * sum(LENGTHS)
    starts = [batch[0] for batch in batches]
    assert starts != sorted(starts)
    assert starts != sorted(starts, reverse=True)


def test_the_scoring_sample_has_the_classes_shares() -> None:
    rows = Dataset.from_dict({"labels": [0] * 700 + [1] * 200 + [2] * 100})
    chosen = scoring_sample(rows, seed=1, count=320)
    assert len(set(chosen)) == 320
    assert Counter(rows["labels"][i] for i in chosen) == {0: 224, 1: 64, 2: 32}
    assert chosen == scoring_sample(rows, seed=1, count=320)
    assert chosen != scoring_sample(rows, seed=2, count=320)


def test_a_regression_task_is_sampled_without_strata() -> None:
    rows = Dataset.from_dict({"labels": [float(i) for i in range(50)]})
    assert len(set(scoring_sample(rows, seed=1, count=20))) == 20
    assert len(scoring_sample(rows, seed=1, count=320)) == 50


def test_scoring_gives_a_collator_what_training_gives_it() -> None:
    columns = {"input_ids": [[1, 2]], "key": ["text of the task's own scoring"], "label": [1]}
    (batch,) = scoring_batches(
        Dataset.from_dict(columns), default_data_collator, tiny_classifier("tiny-bert")
    )
    assert {*batch} == {"input_ids", "labels"}
