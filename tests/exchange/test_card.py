"""The model card of an exported run, and its publication on the hub."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import peft
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from composing import ask_for
from exported_runs import write_run
from hub_files import BERT, model_files
from sparsead.assembly.exported_peft import export_peft
from sparsead.assembly.published import publish
from sparsead.commands.export import main
from sparsead.errors import ConfigError, SourceError
from sparsead.errors.display import escape_controls
from sparsead.report.card import write_card
from sparsead.train import train
from stand_in_hub import Failure, StandInHub

COMMIT = "0123456789" * 4


def test_a_card_has_scores_sparsity_seed_hash_and_how_to_load_it(tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora", "adapter.bottleneck=3")
    card = write_card(run.record, "peft", "me/mine", [run.record])
    sparsity = run.record.result["sparsity"]
    assert "library_name: peft" in card
    assert "| accuracy | 0.5000 |" in card
    assert f"{sparsity['removed']} of its {sparsity['total']} prunable weights" in card
    assert "By seed of the same setting: 1: 0.5000." in card
    assert 'PeftModel.from_pretrained(model, "me/mine")' in card
    assert "from peft import PeftModel\nfrom transformers import AutoModelForSequence" in card
    assert f"- run: {run.record.result['identity']}\n" in card
    assert "adapter.safetensors: SHA-256 " in card
    run.record.result["config"]["protocol"]["epochs"] = 8
    run.record.result["history"] = [{"epoch": 0.25, "scores": {}}]
    run.record.result["collapsed"] = True
    ended = write_card(run.record, "peft", "me/mine", [])
    assert "- 0.25 of 8 epochs, learning rate" in ended
    assert "The run collapsed: it predicts the same for all examples." in ended
    run.record.result["config"]["adapter"]["options"]["budget"] = 0.1
    chosen = write_card(run.record, "peft", "me/mine", [run.record])
    assert f"{sparsity['total'] - sparsity['removed']} of {sparsity['total']} weights of" in chosen
    assert "zeros" not in chosen
    run.record.result["config"]["backbone"]["package_hub"] = "owner/minilm"
    assert 'base_model: "owner/minilm"' in write_card(run.record, "peft", "me/mine", [])


@pytest.mark.parametrize("place", [".", "../OTHER/../RUN"])
def test_a_card_written_within_the_runs_folder_has_the_other_seeds(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = ("adapter=lora", "adapter.bottleneck=3")
    run, other = (write_run(tmp_path, "tiny-bert", *lora, f"seed={seed}") for seed in (1, 2))
    assert run.record.folder.parent == other.record.folder.parent
    monkeypatch.chdir(run.record.folder)
    place = place.replace("OTHER", other.record.folder.name).replace("RUN", run.record.folder.name)
    monkeypatch.setattr("sys.argv", ["sparsead export", place, str(tmp_path / "new"), "--card"])
    main()
    card = (tmp_path / "new" / "README.md").read_text("utf-8")
    assert "By seed of the same setting: 1: 0.5000, 2: 0.5000." in card


def test_a_card_loads_the_commit_of_the_backbone_that_the_run_read(tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora")
    run.record.result["config"]["backbone"]["hub"] = "me/base"
    run.record.result["sources"] = {"backbone": {"hub": "me/base", "commit": COMMIT}}
    card = write_card(run.record, "peft", "me/mine", [])
    assert f'from_pretrained("me/base", revision="{COMMIT}")' in card


def test_a_card_names_the_seed_of_each_part(tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora", "seed=1", "seed_init=5", "seed_mask=3")
    card = write_card(run.record, "peft", "me/mine", [])
    assert "- seed: 1-5-3\n" in card
    assert "By seed of the same setting: 1-5-3: 0.5000." in card


def test_a_name_that_no_repository_has_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora")
    words = [str(run.record.folder), str(tmp_path / "new"), "--push", "bad name!!"]
    monkeypatch.setattr("sys.argv", ["sparsead export", *words])
    with pytest.raises(ConfigError, match="--push bad name!!: Repo id must"):
        main()
    assert not (tmp_path / "new").exists()


def test_what_a_record_names_stays_text_in_a_card(tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora", "adapter.bottleneck=3")
    evil = 'me/x"\nlicense: evil\n```\n"); harm() #\u202e\x1b'
    run.record.result["config"]["backbone"]["hub"] = evil
    run.record.result["scores"] = {"[a](http://b) | <b>": 0.5}
    card = write_card(run.record, "peft", evil, [])
    front, text = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "tags": ["sparsead"],
        "base_model": evil,
    }
    code = ast.parse(text.split("```python\n")[1].split("\n```")[0])
    assert [n.value for n in ast.walk(code) if isinstance(n, ast.Constant)].count(evil) == 2
    assert r"| \[a\](http://b) \| &lt;b&gt; | 0.5000 |" in text
    assert escape_controls(card) == card


def test_export_publishes_a_folder_without_what_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora", "adapter.bottleneck=3")
    commits: list[tuple[str, dict[str, Any]]] = []

    def commit(_: object, repository: str, operations: list[Any], **__: object) -> None:
        commits.append((repository, {each.path_in_repo: each for each in operations}))

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", commit)
    words = [str(run.record.folder), str(tmp_path / "peft"), "--push", "me/mine"]
    monkeypatch.setattr("sys.argv", ["sparsead export", *words])
    main()
    assert capsys.readouterr().out == f"{tmp_path / 'peft'}\n"
    ((repository, files),) = commits
    assert repository == "me/mine"
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(files)
    published = json.loads(files["adapter_config.json"].path_or_fileobj)
    assert published["base_model_name_or_path"] is None
    kept = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert kept["base_model_name_or_path"] == str(run.base)


@pytest.mark.slow
def test_an_export_for_peft_names_the_commit_that_the_run_read(
    hub: StandInHub, tmp_path: Path
) -> None:
    commit = hub.commit("models", BERT, model_files())
    words = ("backbone=tiny-bert", f"backbone.hub={BERT}", "task=demo_mrpc", "task.limit=16")
    small = ("adapter=lora", "protocol.epochs=1", "device=cpu", "sparsity.ratio=0", "pruner=none")
    run = train(ask_for(*words, *small, f"outputs={tmp_path / 'runs'}"))
    export_peft(run, tmp_path / "peft")
    described = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (described["base_model_name_or_path"], described["revision"]) == (BERT, commit)


def test_what_is_published_is_loaded_from_the_hub(hub: StandInHub, tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", "adapter=lora", "adapter.bottleneck=3")
    export_peft(run.record, tmp_path / "peft")
    for failure, reason in (
        (Failure(403, path="create"), r"the hub refuses access \(403\)"),
        (Failure(500, path="commit"), r"fails \(500\)"),
    ):
        with hub.failing(failure), pytest.raises(SourceError, match=reason) as error:
            publish(tmp_path / "peft", "me/mine", None, None)
        assert len(str(error.value).splitlines()) == 1
    publish(tmp_path / "peft", "me/mine", "me/base", COMMIT)
    files = hub.commits[hub.branches["models", "me/mine"]["main"]]
    named = json.loads(files["adapter_config.json"])
    assert (named["base_model_name_or_path"], named["revision"]) == ("me/base", COMMIT)
    assert files["adapter_model.safetensors"]
    assert not any(name.startswith("base/") for name in files)
    base = AutoModelForSequenceClassification.from_pretrained(run.base)
    loaded = peft.PeftModel.from_pretrained(base, "me/mine").eval()
    tokens = {"input_ids": torch.tensor([[0, 7, 8, 9, 2]])}
    assert torch.allclose(loaded(**tokens).logits, run.model(**tokens).logits, atol=1e-6)


def test_a_hub_that_refuses_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("401 Client Error.\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(SourceError, match=r"me/mine: was not published \(401 Client Error\.\)"):
        publish(tmp_path, "me/mine", None, None)
