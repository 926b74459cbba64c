"""Parameters, bytes and FLOPs counted without weights, against those of a run and of the paper."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from composing import ask_for, compose
from sparsead.assembly.account import count_costs
from sparsead.commands.params import count_paper_rows, main
from sparsead.errors import ConfigError
from sparsead.train import train

LARGE_SPARSE = ("table3", "roberta-base")


def printed(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["sparsead params", *arguments])
    main()
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=tiny-bert", "sparsity=0.37"],
        ["backbone=tiny-roberta", "pruner=none"],
        ["backbone=tiny-bart", "adapter=lora"],
        ["backbone=tiny-bert", "adapter=full"],
        # peft reads the values of what it creates for BOFT.
        ["backbone=tiny-bert", "adapter=peft", "adapter.type=boft", "pruner=random"],
    ],
)
def test_the_figures_are_those_that_a_run_records(
    tmp_path: Path, glue_fixture: Path, overrides: list[str]
) -> None:
    given = [text.replace("sparsity=", "sparsity.ratio=") for text in overrides]
    common = ["task=mrpc", f"task.path={glue_fixture}", "device=cpu", "protocol.epochs=1"]
    request = ask_for(*given, *common, "task.limit=32", f"outputs={tmp_path}")
    assert count_costs(request.spec) == train(request).result["parameters"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["adapter=lora", "adapter.sites=[]"], "name at least one kind of site"),
        (["adapter=sparse", "adapter.budget=0.5", "adapter.sites=[query,query]"], "named twice"),
        (["task.max_length=513"], "has positions for 512 tokens"),
    ],
)
def test_what_no_run_could_have_is_not_counted(
    overrides: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sparsead params", "backbone=tiny-bert", *overrides])
    with pytest.raises(ConfigError, match=said):
        main()


def test_a_backbone_folder_says_its_own_shapes(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    counts = count_costs(compose("backbone=folder", f"backbone.path={tmp_path}"))
    assert counts["backbone"] == BertModel(config).num_parameters()


@pytest.mark.slow
def test_the_paper_column_stands_beside_ours() -> None:
    rows = {(row["table"], row["row"], row["backbone"]): row for row in count_paper_rows()}
    assert Counter(table for table, _, _ in rows) == {"table1": 14, "table2": 18, "table3": 10}
    for key, paper, ours in [
        (("table1", "Adapter, r=64", "roberta-base"), 2.0, 1.91),
        (("table1", "Adapter, r=64", "bert-base"), 2.0, 2.17),
        (("table1", "GraSP, 40 %", "roberta-base"), 1.2, 1.15),
        (("table2", "Adapter", "bert-base-cased"), 8.8, 8.74),
        (("table2", "SNIP, 20 %", "bart-large"), 3.6, 12.41),
        (("table2", "Adapter", "bart-large"), 4.5, 15.51),
    ]:
        assert (rows[key]["paper %"], rows[key]["nominal %"]) == (paper, ours)
    budget = [row["nominal %"] for (table, _, b), row in rows.items() if (table, b) == LARGE_SPARSE]
    budget.remove(max(budget))  # fine-tuning
    assert len(budget) == 4
    assert max(budget) - min(budget) < 0.01


def test_numbers_are_shorthand_and_json_is_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["backbone=roberta-base", "--format", "json", "sparsity=0.4"]
    (row,) = json.loads(printed(arguments, monkeypatch, capsys))
    assert row["adapter parameters"] == 2_379_264
    assert row["nominal %"] == 1.15
    assert row["added FLOPs/token"] == 2 * 2_359_296


@pytest.mark.parametrize(
    ("override", "words"),
    [("backbone=roberta-bse", "did you mean roberta-base"), ("adapter.botleneck=3", "bottleneck")],
)
def test_a_wrong_override_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        printed([override], monkeypatch, capsys)
    assert "\n" not in str(error.value)
