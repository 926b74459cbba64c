"""A finished run, rebuilt from its record: the same model, the same predictions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

import sparsead
import sparsead.train as train
from composing import ask_for, compose
from sparsead.assembly import phases
from sparsead.assembly.build import build_task
from sparsead.assembly.predictions import predict_file
from sparsead.backbones.loading import load_backbone
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, DataError, RecordError, SourceError
from sparsead.pruning.storage import WEIGHTS_FILE, load_sparse, save_sparse
from sparsead.runs.predictions import read_predictions
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.tasks.contract import EncodesNewRows
from sparsead.tasks.glue import GlueTask
from sparsead.training import trainer

CONF = Path(__file__).parents[2] / "conf"
ADAPTER_NAMES = sorted({file.stem for file in (CONF / "adapter").glob("*.yaml")} - {"fusion"})
OPTIONS = {"bitfit": ["adapter.budget=0.5"], "sparse": ["adapter.budget=0.05"]}
TEXTS = {"sentence1": "The ship sank.", "sentence2": "A vessel went down — Zürich."}


def request_of(outputs: Path, glue: Path, *overrides: str) -> RunRequest:
    return ask_for(
        *("backbone=tiny-bert", "task=mrpc", f"task.path={glue}", f"outputs={outputs}"),
        *("device=cpu", "precision=fp32", "protocol.epochs=1", "protocol.learning_rate=0.01"),
        *overrides,
    )


def trained(
    monkeypatch: pytest.MonkeyPatch, request: RunRequest
) -> tuple[RunRecord, PreTrainedModel, dict[str, Tensor]]:
    """Train, and return the trained model too, and the state that it had before the training."""
    seen: dict[str, tuple[PreTrainedModel, dict[str, Tensor]]] = {}

    def spy(spec: RunSpec, model: PreTrainedModel, *rest: Any) -> trainer.SparseadTrainer:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        seen["run"] = (model, before)
        return trainer.build_trainer(spec, model, *rest)

    monkeypatch.setattr(phases, "build_trainer", spy)
    return train.train(request), *seen["run"]


@pytest.fixture
def run(tmp_path: Path, glue_fixture: Path) -> RunRecord:
    return train.train(request_of(tmp_path / "outputs", glue_fixture, "task.limit=16"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=tiny-bert"],
        ["backbone=tiny-roberta", "adapter=lora", "pruner=random"],
        ["backbone=tiny-bart", "pruner=none", "adapter.activation=xielu"],
        ["backbone=tiny-bert", "adapter=full"],
    ],
)
def test_a_loaded_run_is_the_trained_model_to_the_bit(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    request = request_of(tmp_path, glue_fixture, *overrides)
    record, model, before = trained(monkeypatch, request)
    loaded = sparsead.load(record.folder)
    assert not loaded.model.training
    state = loaded.model.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    task = build_task(request.spec)
    assert isinstance(task, GlueTask)
    rows = task.load()["validation"].to_list()
    right = [
        prediction["prediction"] == task.labels[row["label"]]
        for prediction, row in zip(loaded.predict(rows), rows, strict=True)
    ]
    assert sum(right) / len(right) == record.main_score
    batch = loaded.tokenizer(TEXTS["sentence1"], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded.model(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bart"])
def test_training_changes_no_frozen_weight_by_one_bit(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    request = request_of(tmp_path, glue_fixture, f"backbone={backbone}")
    record, model, before = trained(monkeypatch, request)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    moved = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert changed <= moved
    assert any(".adapter." in name for name in changed)
    untouched = load_backbone(request.spec.backbone).model(
        *(sparsead.load(record.folder).task.head, {"num_labels": 2}, request.spec.seed)
    )
    for name, tensor in untouched.state_dict().items():
        if name not in moved:
            assert after[name].numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.slow
def test_a_loaded_run_is_shown_in_three_lines_and_has_what_its_record_says(run: RunRecord) -> None:
    loaded = sparsead.load(run.folder)
    assert loaded.scores == run.result["scores"]
    assert loaded.history == run.result["history"]
    assert loaded.folder == run.folder
    setting, scores, folder = repr(loaded).splitlines()
    assert setting.startswith("TrainedRun: houlsby with r=64, 40 % removed by snip, on tiny-bert;")
    assert scores.startswith(f"accuracy {100 * run.main_score:.2f}, f1 ")
    assert folder == str(run.folder)
    assert {"load", "predictions", "prune"} < set(dir(sparsead))
    assert not {"Any", "TYPE_CHECKING", "annotations"} & set(dir(sparsead))


@pytest.mark.slow
def test_a_caller_s_draws_and_training_go_on_behind_a_loaded_run(run: RunRecord) -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    loaded = sparsead.load(run.folder)
    loaded.model.train()
    loaded.predict([TEXTS])
    assert torch.equal(torch.rand(2), expected)
    assert loaded.model.training


def test_a_loaded_run_keeps_its_removed_weights_at_zero_when_trained_on(run: RunRecord) -> None:
    loaded = sparsead.load(run.folder)
    optimiser = torch.optim.AdamW(loaded.model.parameters(), lr=0.1)
    batch = loaded.tokenizer("some text", return_tensors="pt")
    loaded.model(**batch, labels=torch.tensor([1])).loss.backward()
    optimiser.step()
    for name, mask in loaded.masks.items():
        weight = loaded.model.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].any()


@pytest.mark.slow
def test_predicting_in_bf16_leaves_the_model_in_fp32(run: RunRecord) -> None:
    loaded = replace(sparsead.load(run.folder), precision="bf16")
    batch = loaded.tokenizer(["one text"], ["another"], return_tensors="pt")
    with torch.no_grad():
        before = loaded.model(**batch).logits
        for _ in range(2):
            loaded.predict([{"sentence1": "one text", "sentence2": "another"}])
            assert torch.equal(loaded.model(**batch).logits, before)


@pytest.mark.slow
def test_outputs_that_are_nan_predict_nothing(run: RunRecord) -> None:
    loaded = sparsead.load(run.folder)
    name = loaded.adapted.head[0]
    loaded.model.get_parameter(name).data.fill_(float("nan"))
    with pytest.raises(RecordError, match="its model's outputs are nan, which predict nothing"):
        loaded.predict([dict.fromkeys(loaded.inputs, "a text")])


@pytest.mark.slow
def test_weights_of_another_type_are_refused(run: RunRecord) -> None:
    file = run.folder / WEIGHTS_FILE
    stored = load_sparse(file)
    name, tensor = next(iter(stored.tensors.items()))
    other = stored.tensors | {name: tensor.astype("float16")}
    save_sparse(file, other, stored.masks, stored.metadata)
    with pytest.raises(RecordError, match=r"is float16\[.*\], but the model needs float32\["):
        sparsead.load(run.folder)


@pytest.mark.slow
def test_a_row_that_is_none_of_texts_is_refused_by_its_number(run: RunRecord) -> None:
    loaded = sparsead.load(run.folder)
    whole = {"sentence1": "a", "sentence2": "b"}
    refused: list[tuple[Any, str]] = [
        ({"sentence1": "c"}, "row 1: sentence2 is missing"),
        ({**whole, "sentence2": 3}, "row 1: sentence2: 3 is not a text"),
        ("sentence1 and sentence2", "row 1: 'sentence1 and sentence2' is not a mapping"),
    ]
    for wrong, message in refused:
        with pytest.raises(DataError, match=message):
            loaded.predict([whole, wrong])


@pytest.mark.slow
def test_another_backbone_is_refused_and_a_moved_one_found(
    tmp_path: Path, glue_fixture: Path
) -> None:
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    here, there = tmp_path / "here", tmp_path / "there"
    tiny.tokenizer.save_pretrained(here)
    tiny.model(AutoModel, {}, seed=1).save_pretrained(here)
    request = request_of(tmp_path, glue_fixture, f"backbone.path={here}", "task.limit=16")
    record = train.train(request)
    here.rename(there)
    with pytest.raises(ConfigError, match=r"backbone\.path=.*here: is not a folder"):
        sparsead.load(record.folder)
    moved = sparsead.load(record.folder, backbone=there).predict([TEXTS])
    assert set(moved[0]["probabilities"]) == {"not_equivalent", "equivalent"}
    weights = load_file(there / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(weights, there / "model.safetensors", {"format": "pt"})
    with pytest.raises(SourceError, match="trained on another backbone: model"):
        sparsead.load(record.folder, backbone=there)


@pytest.mark.slow
def test_the_training_data_need_not_be_there_any_more(tmp_path: Path, glue_fixture: Path) -> None:
    data = shutil.copytree(glue_fixture, tmp_path / "glue")
    record = train.train(request_of(tmp_path, data, "task.limit=16"))
    shutil.rmtree(data)
    run = sparsead.load(record.folder)
    assert len(run.predict([TEXTS, TEXTS])) == 2
    assert run.predict(dict(TEXTS) for _ in range(2)) == run.predict([TEXTS, TEXTS])


ANSWER = {"text": "Rome", "answer_start": 3}
QUESTIONS = [{"id": f"q{n}", "question": "Where?", "answers": [ANSWER]} for n in range(4)]
PARAGRAPH = {"context": "In Rome.", "qas": QUESTIONS}
OWN = {
    "text": [
        *("text", "task.inputs=[src]", "task.label=mark", "task.validation_share=0.25"),
        "backbone=tiny-bert",
    ],
    "numbers": [
        *("text", "task.inputs=[src,tgt]", "task.label=mark", "task.regression=true"),
        *("task.validation=VALIDATION", "backbone=tiny-bert"),
    ],
    "translate": [
        *("translate", "task.validation=VALIDATION", "task.generation.max_new_tokens=5"),
        "backbone=tiny-bart",
    ],
    "summarize": [
        *("summarize", "task.validation=VALIDATION", "task.generation.max_new_tokens=5"),
        "task.generation.min_new_tokens=0",
        *("task.columns={id: null, source: src, target: tgt}", "backbone=tiny-bart"),
    ],
    "qa": ["qa", "task.validation=VALIDATION", "backbone=tiny-bert"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN)
def test_a_run_on_files_that_are_gone_predicts_what_it_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rows = [{"src": f"text {n}", "tgt": f"t {n}", "mark": n % 3 + 9} for n in range(8)]
    questions = {"data": [{"title": "t", "paragraphs": [PARAGRAPH]}]}
    file = tmp_path / ("questions.json" if kind == "qa" else "rows.jsonl")
    file.write_text(
        json.dumps(questions) if kind == "qa" else "".join(json.dumps(r) + "\n" for r in rows)
    )
    name, *options = [option.replace("VALIDATION", str(file)) for option in OWN[kind]]
    common = ("device=cpu", "precision=fp32", "protocol.epochs=1", f"outputs={tmp_path}")
    request = ask_for(f"task={name}", f"task.train={file}", *options, *common)
    record, model, _ = trained(monkeypatch, request)
    given = file.rename(tmp_path / f"new{file.suffix}")
    loaded = sparsead.load(record.folder)
    assert all(torch.equal(model.state_dict()[n], t) for n, t in loaded.model.state_dict().items())
    predicted = list(predict_file(loaded, given))
    if kind == "text":
        assert list(predicted[0]["probabilities"]) == ["9", "10", "11"]
    if kind == "numbers":
        assert all(isinstance(one["prediction"], float) for one in predicted)
    if kind in ("translate", "summarize", "qa"):
        assert [one["prediction"] for one in predicted] == list(
            read_predictions(record)["prediction"]
        )
    names = [one.get("id", one.get("line")) for one in predicted]
    assert names == ([q["id"] for q in QUESTIONS] if kind == "qa" else [*range(1, 9)])


@pytest.mark.slow
def test_a_record_cannot_name_any_function_at_all(run: RunRecord, tmp_path: Path) -> None:
    result = run.result
    result["config"]["adapter"] |= {
        "method": "os.system",
        "options": {"command": f"touch {tmp_path}/harm"},
    }
    (run.folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match=r"os\.system: is code of another package"):
        sparsead.load(run.folder)
    with pytest.raises(ConfigError, match=r"os\.system: has no method 'insert'"):
        sparsead.load(run.folder, trust="os")
    assert not (tmp_path / "harm").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "task"), [("tiny-bert", "demo_squad"), ("tiny-bart", "demo_xsum")]
)
def test_answers_and_texts_are_those_that_the_run_kept(
    tmp_path: Path, backbone: str, task: str
) -> None:
    request = ask_for(
        *(f"backbone={backbone}", f"task={task}", "task.limit=16", "device=cpu"),
        *("protocol.epochs=1", f"outputs={tmp_path}"),
    )
    record = train.train(request)
    rows = build_task(request.spec).load()["validation"].to_list()
    loaded = sparsead.load(record.folder)
    assert isinstance(loaded.task, EncodesNewRows)
    column = {"source": loaded.task.inputs[0]}
    given = [{column.get(name, name): text for name, text in row.items()} for row in rows]
    predicted = loaded.predict(given)
    assert [one["prediction"] for one in predicted] == list(read_predictions(record)["prediction"])


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ADAPTER_NAMES)
def test_the_weights_that_were_scored_are_those_that_are_stored(
    tmp_path: Path, adapter: str
) -> None:
    """Under the Trainer's own optimiser, which changes weights without raising their version."""
    words = ("backbone=tiny-bert", "task.limit=16", "device=cpu", "precision=fp32")
    steps = ("protocol.epochs=2", "protocol.batch_size=4", "protocol.learning_rate=0.05")
    method = (f"adapter={adapter}", *OPTIONS.get(adapter, ()))
    pruned = (
        ("pruner=none", "sparsity=dense") if adapter in ("full", "head") else ("pruner=random",)
    )
    record = train.train(ask_for(*words, *steps, *method, *pruned, f"outputs={tmp_path}"))
    loaded = sparsead.load(record.folder)
    rows = build_task(loaded.spec).load()["validation"].to_list()
    predicted = loaded.predict([{name: row[name] for name in loaded.inputs} for row in rows])
    kept = read_predictions(record)
    for name, probabilities in kept.filter(like="probabilities.").items():
        found = [
            one["probabilities"][str(name).removeprefix("probabilities.")] for one in predicted
        ]
        assert found == pytest.approx(list(probabilities), abs=1e-4)
