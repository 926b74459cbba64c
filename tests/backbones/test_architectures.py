"""Every architecture of the map: its sites are found, and adapters in them work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BatchEncoding,
    PreTrainedModel,
)

import sparsead
from composing import ask_for, compose
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.head import HeadOnly
from sparsead.adapters.merging import merge
from sparsead.assembly.account import count_costs
from sparsead.assembly.build import build_task
from sparsead.backbones.configs import architecture_config
from sparsead.backbones.contract import Sites, architectures
from sparsead.backbones.loading import count_parameters, load_backbone
from sparsead.backbones.places import SiteError
from sparsead.backbones.sites import site_modules
from sparsead.errors import ConfigError, SourceError
from sparsead.tasks.glue import GlueTask

PADDED = {"layer": 0, "attention_residual": 0}
POST_NORM = {"ffn_sum": 0}
PRE_NORM = {"ffn_norm": 0} | PADDED
UNPADDED = {"positions": 1}
NO_POSITIONS = {"positions": 0}
ENCODER = dict.fromkeys(Sites.__dataclass_fields__, 2) | POST_NORM | UNPADDED
DECODER = dict.fromkeys(Sites.__dataclass_fields__, 2) | PRE_NORM | UNPADDED
SEQ2SEQ = (
    dict.fromkeys(Sites.__dataclass_fields__, 4)
    | NO_POSITIONS
    | dict.fromkeys(("query", "key", "value", "attention"), 6)
    | dict.fromkeys(("attention_output", "attention_projection"), 6)
    | PADDED
)
COUNTS = {
    "tiny-bert": ENCODER,
    "tiny-roberta": ENCODER,
    "tiny-electra": ENCODER,
    "tiny-deberta": ENCODER | NO_POSITIONS | {"attention_residual": 0},
    "tiny-distilbert": ENCODER | PADDED,
    "tiny-mpnet": ENCODER | NO_POSITIONS | {"attention_residual": 0},
    "tiny-modernbert": ENCODER
    | PRE_NORM
    | {"ffn_sum": 2}
    | NO_POSITIONS
    | {"query": 0, "key": 0, "value": 0},
    "tiny-bart": SEQ2SEQ | POST_NORM,
    "tiny-t5": SEQ2SEQ | PRE_NORM,
    "tiny-gpt2": DECODER | {"query": 0, "key": 0, "value": 0},
    "tiny-llama": DECODER,
    "tiny-qwen": DECODER,
    "tiny-qwen2": DECODER,
}
BACKBONES = list(COUNTS)
TEXTS = (["One short text.", "Another, which is longer"], ["and a pair", "Zürich 1999"])


def plain(backbone: str) -> tuple[PreTrainedModel, BatchEncoding]:
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1).eval()
    return model, loaded.tokenizer(*TEXTS, padding=True, return_tensors="pt")


def inserted(model: PreTrainedModel, adapter: str, *overrides: str) -> AdaptedModel:
    spec = compose(f"adapter={adapter}", *overrides).adapter
    return ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)


@pytest.mark.slow
def test_every_architecture_has_a_tiny_backbone() -> None:
    tiny = {compose(f"backbone={b}").backbone.architecture["model_type"] for b in BACKBONES}
    assert tiny == set(architectures())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_site_is_found_as_often_as_it_is_there(backbone: str) -> None:
    model, _ = plain(backbone)
    bare = model.base_model
    assert isinstance(bare, PreTrainedModel)
    for site, count in COUNTS[backbone].items():
        if count:
            assert len(site_modules(model, site)) == count, site
            assert len(site_modules(bare, site)) == count, site
        else:
            with pytest.raises(ConfigError, match=f"{model.config.model_type} has no"):
                site_modules(model, site)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_output_sites_are_what_the_residual_adds(backbone: str) -> None:
    """If the outputs of both sublayers are zero, a layer is the identity except for LayerNorms."""
    model, batch = plain(backbone)
    seen: list[Tensor] = []
    for site in ("attention_output", "ffn_output"):
        for module in site_modules(model, site).values():
            module.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    norms = [m for m in model.base_model.modules() if "Norm" in type(m).__name__]
    for norm in norms:
        norm.register_forward_hook(lambda _m, inputs, _o: inputs[0])
    first_layers = ("h.0", "layers.0", "layer.0", "block.0")
    embedded = [m for n, m in model.base_model.named_modules() if n.endswith(first_layers)]
    embedded[0].register_forward_pre_hook(
        lambda _m, args, options: seen.append(args[0] if args else options["hidden_states"]),
        with_kwargs=True,
    )
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = batch["input_ids"]
    output = model.base_model(**batch)
    last = getattr(output, "encoder_last_hidden_state", None)
    last = output.last_hidden_state if last is None else last
    assert torch.equal(last, seen[0])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_houlsby_goes_in_changes_the_output_and_is_trained_whole(backbone: str) -> None:
    model, batch = plain(backbone)
    before = model(**batch).logits
    zero_up, _ = plain(backbone)
    inserted(zero_up, "houlsby", "adapter.init=zero_up")
    torch.testing.assert_close(zero_up(**batch).logits, before, rtol=0, atol=1e-6)
    adapted = inserted(model, "houlsby", "adapter.bottleneck=8")
    with torch.no_grad():
        for name in adapted.adapter:
            model.get_parameter(name).normal_(0, 0.3)
    output = model(**batch, labels=torch.tensor([0, 1]))
    assert output.logits.isfinite().all()
    assert not torch.allclose(output.logits, before, rtol=0, atol=1e-4)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == parameter.requires_grad, name


LINEAR = ("query", "key", "value", "attention_projection", "ffn_input", "ffn_projection")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [b for b in BACKBONES if b != "tiny-gpt2"])
def test_lora_at_every_linear_site_computes_the_same_when_it_is_merged(backbone: str) -> None:
    model, batch = plain(backbone)
    before = model(**batch).logits
    sites = ",".join(site for site in LINEAR if COUNTS[backbone][site])
    adapted = inserted(model, "lora", f"adapter.sites=[{sites}]")
    with torch.no_grad():
        for name in adapted.adapter:
            model.get_parameter(name).normal_(0, 0.3)
    model.double()  # so that rounding, which differs from one CPU to another, hides no difference
    unmerged = model(**batch).logits
    assert not torch.allclose(unmerged, before.double(), rtol=0, atol=1e-4)
    assert len(merge(model)) == len(adapted.adapter) // 2
    torch.testing.assert_close(model(**batch).logits, unmerged, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "adapter", "words"),
    [
        (
            "tiny-gpt2",
            "lora",
            "adapter=lora cannot be inserted into backbone=tiny-gpt2: gpt2 has no query",
        ),
        (
            "tiny-t5",
            "bitfit",
            "adapter=bitfit cannot be inserted into backbone=tiny-t5: t5 has no biases",
        ),
        (
            "tiny-deberta",
            "prefix",
            "adapter=prefix cannot be inserted .*attention of deberta-v2, which",
        ),
        (
            "tiny-modernbert",
            "lora",
            "adapter=lora cannot .*modernbert has no query projection of its own: one .*Wqkv",
        ),
        ("tiny-mpnet", "mam", "adapter=mam cannot be inserted into .*attention of mpnet, which"),
    ],
)
def test_a_method_that_cannot_go_in_says_why(backbone: str, adapter: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        count_costs(compose(f"backbone={backbone}", f"adapter={adapter}"))


@pytest.mark.parametrize("adapter", ["houlsby", "lora", "dora", "sparse"])
def test_two_sites_that_are_one_module_are_refused(adapter: str) -> None:
    words = r"ffn_output and ffn_projection are one module in llama, layers\.{i}\.mlp\.down_proj; n"
    with pytest.raises(ConfigError, match=words):
        inserted(plain("tiny-llama")[0], adapter, "adapter.sites=[ffn_output,ffn_projection]")


@pytest.mark.parametrize("backbone", ["tiny-bart", "tiny-t5"])
def test_a_head_that_is_the_backbones_embedding_cannot_train_alone(backbone: str) -> None:
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    with pytest.raises(SiteError, match="so that nothing would train"):
        HeadOnly().insert(loaded.model(AutoModelForSeq2SeqLM, {}, seed=1), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("bert-base", 109_482_240),
        ("roberta-base", 124_645_632),
        ("bart-large", 406_291_456),
        ("electra-base", 108_891_648),
        ("deberta-v3-base", 183_831_552),
        ("distilbert-base", 66_362_880),
        ("t5-base", 222_903_552),
        ("gpt2", 124_439_808),
        ("mpnet-base", 109_486_464),
        ("modernbert-base", 149_014_272),
        ("llama", 1_235_814_400),
        ("qwen", 596_049_920),
        ("qwen2", 494_032_768),
        ("smollm2", 134_515_008),
    ],
)
def test_the_architecture_has_as_many_parameters_as_the_published_model(
    backbone: str, parameters: int
) -> None:
    assert count_parameters(architecture_config(compose(f"backbone={backbone}").backbone, {})) == (
        parameters
    )


def test_a_decoder_is_padded_with_its_end_of_text(tmp_path: Path) -> None:
    tiny = load_backbone(compose("backbone=tiny-gpt2").backbone)
    model = tiny.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    tiny.tokenizer.pad_token = None
    tiny.tokenizer.save_pretrained(tmp_path)
    spec = compose("backbone=folder", f"backbone.path={tmp_path}").backbone
    loaded = load_backbone(spec)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1).eval()
    assert model.config.pad_token_id == loaded.tokenizer.eos_token_id
    padded = loaded.tokenizer(["short", "rather longer"], padding=True, return_tensors="pt")
    alone = loaded.tokenizer(["short"], return_tensors="pt")
    torch.testing.assert_close(model(**padded).logits[:1], model(**alone).logits)
    tiny.tokenizer.eos_token = None
    tiny.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="neither a padding token nor an end of text"):
        load_backbone(spec)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES[2:])
def test_a_run_is_pruned_trained_loaded_and_predicts(
    tmp_path: Path, glue_fixture: Path, backbone: str
) -> None:
    from sparsead.train import train

    data = ("task=mrpc", f"task.path={glue_fixture}", "task.limit=32", "device=cpu")
    request = ask_for(f"backbone={backbone}", *data, "protocol.epochs=1", f"outputs={tmp_path}")
    record = train(request)
    task = build_task(request.spec)
    assert isinstance(task, GlueTask)
    rows = task.load()["validation"].to_list()
    right = [
        prediction["prediction"] == task.labels[row["label"]]
        for prediction, row in zip(sparsead.load(record.folder).predict(rows), rows, strict=True)
    ]
    assert sum(right) / len(right) == record.main_score
