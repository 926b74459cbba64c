from __future__ import annotations

import pytest

from sparsead.config.choices import list_choices, list_groups
from sparsead.config.compose import compose, default_keys
from sparsead.errors import ConfigError, unknown, unknown_key
from sparsead.errors.hints import (
    OTHER_NAMES_OF_CHOICES,
    OTHER_NAMES_OF_KEYS,
    nearest_choice,
    nearest_keys,
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", ["protocol.learning_rate"]),
        ("learning_rate", ["protocol.learning_rate"]),
        ("protocol.lr", ["protocol.learning_rate"]),
        ("optimizer.lr", ["protocol.learning_rate"]),
        ("trainer.max_epochs", ["protocol.epochs"]),
        ("num_train_epochs", ["protocol.epochs"]),
        ("per_device_train_batch_size", ["protocol.batch_size"]),
        ("bs", ["protocol.batch_size"]),
        ("learnig_rate", ["protocol.learning_rate"]),
        ("adapter.r", ["adapter.bottleneck"]),
        ("r", ["adapter.bottleneck"]),
        ("model", ["backbone"]),
        ("dataset_name", ["task"]),
        ("data_dir", ["task.path"]),
        ("output_dir", ["outputs"]),
        ("dropout", ["backbone.dropout", "adapter.dropout"]),
        ("adapter.drop", ["adapter.dropout"]),
        ("sed", ["seed"]),
        ("scale", ["sparsity.scale", "adapter.scale"]),
        ("nothing_like_it", []),
    ],
)
def test_a_key_is_found_in_every_group_and_by_its_other_names(typed: str, meant: list[str]) -> None:
    assert sorted(nearest_keys(typed, default_keys())) == sorted(meant)


@pytest.mark.parametrize(
    ("typed", "choices", "meant"),
    [
        ("GPU", ["auto", "cpu", "cuda"], "cuda"),
        ("fp16", ["auto", "bf16", "fp32"], "bf16"),
        ("bert-base-uncased", ["bert-base", "bert-base-cased"], "bert-base"),
        ("SNIP", ["er", "snip", "snip_paper"], "snip"),
        ("mrcp", ["mrpc", "rte"], "mrpc"),
        ("MRPC", ["CoLA", "mrpc"], "mrpc"),
        ("xyz", ["mrpc", "rte"], None),
    ],
)
def test_a_choice_is_found_by_its_other_names(
    typed: str, choices: list[str], meant: str | None
) -> None:
    assert nearest_choice(typed, choices) == meant


def test_what_other_names_lead_to_exists() -> None:
    keys = [
        *default_keys(),
        "adapter.alpha",
        "pruner.rounds",
        "task.train",
        "task.validation",
        "task.test",
    ]
    names = {key.rpartition(".")[2] for key in keys} | set(keys)
    assert {key for key in OTHER_NAMES_OF_KEYS if key not in names} == set()
    choices = {choice for group in list_groups() for choice in list_choices(group)}
    assert set(OTHER_NAMES_OF_CHOICES) <= choices | {
        "cuda",
        "bf16",
        "fp32",
        "cosine",
        "reduce_lr_on_plateau",
    }


def test_a_key_beside_the_typed_one_is_preferred() -> None:
    assert "did you mean task.max_length?" in unknown_key("task.max_len", ["max_length", "limit"])


def test_spaces_at_the_edge_of_a_name_can_be_seen() -> None:
    said = unknown("a.csv:1: column", "l", [" l", "t", "of  two"])
    assert said == (
        "a.csv:1: column=l: no such choice; did you mean ' l'? (allowed: ' l', 'of  two', t)"
    )
    assert unknown("column", "l ", ["l", "t"]).startswith("column='l ': no such choice; did you ")


def test_a_key_of_a_search_that_was_not_chosen_says_so() -> None:
    with pytest.raises(
        ConfigError, match=r"^search\.epochs: needs search=asha; a grid is typed as"
    ):
        compose(["search.epochs=[1]"])
