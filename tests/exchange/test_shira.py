"""peft's SHiRA as what a run with adapter=sparse starts from, and there and back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from torch import Tensor

import sparsead
from composing import compose
from exported_runs import write_run
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import train_chosen
from sparsead.assembly.build import build_adapter, build_task, insert_adapter
from sparsead.assembly.exported_peft import export_peft
from sparsead.assembly.start import load_start
from sparsead.backbones.loading import load_backbone
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.exchange.shira import from_shira, to_shira
from sparsead.pruning.masks import Masks
from sparsead.pruning.storage import WEIGHTS_FILE, load_weights, save_sparse
from tiny_models import labelled_batch

TINY = ("backbone=tiny-bert", "task=demo_mrpc", "task.limit=16", "protocol.epochs=1")
CPU = ("device=cpu", "precision=fp32")
SPARSE = ("adapter=sparse", "adapter.sites=[query,value]", "pruner=none")
COUNT, TOTAL = 2 * 2 * 64, 2 * 2 * 32 * 32
"""Weights that SHiRA of r=1 changes in query and value of tiny-bert's two layers, and all."""


def write_shira(folder: Path) -> peft.PeftModel:
    """Write a folder of peft's SHiRA, with differences that were drawn, and return its model."""
    spec = compose(*TINY)
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, spec.seeds.init)
    config = peft.ShiraConfig(
        r=1, target_modules=["query", "value"], task_type="SEQ_CLS", random_seed=3
    )
    shira = peft.get_peft_model(model, config)
    draws = torch.Generator().manual_seed(1)
    for name, parameter in shira.named_parameters():
        if "shira_weight" in name:
            parameter.data.normal_(0, 0.3, generator=draws)
    shira.save_pretrained(str(folder))
    return shira


def started(spec: RunSpec) -> tuple[AdaptedModel, AdaptedModel]:
    """Return the model with its start in it, before and after the weights train."""
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, spec.seeds.init)
    adapted = insert_adapter(spec, build_adapter(spec), model)
    masks = load_start(spec, adapted).chosen
    assert masks is not None
    return adapted, train_chosen(adapted, masks)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**labelled_batch()).logits
    return found


def test_the_weights_of_shira_train_from_their_values(tmp_path: Path) -> None:
    shira = write_shira(tmp_path)
    words = (f"adapter.start={tmp_path}", f"adapter.budget={COUNT / TOTAL}")
    spec = compose(*TINY, *SPARSE, *words, "adapter.start_head=true")
    _, trained = started(spec)
    torch.testing.assert_close(logits(trained.model), logits(shira), rtol=0, atol=1e-6)
    sizes = [trained.model.get_parameter(name).numel() for name in trained.adapter]
    assert sizes == 4 * [64]
    assert not spec.masked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapter.budget=0.5"], f"changes {COUNT} weights, and adapter.budget=0.5 is 2048; set "),
        (["adapter.sites=[query]"], "value, which is at none of this run's adapter.sites"),
        (["backbone=tiny-electra"], "it changes bert.* at none of this run's adapter.sites"),
        (["pruner=snip"], r"pruner=snip: with adapter.start=.*; choose pruner=none"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    write_shira(tmp_path)
    given = [*TINY, *SPARSE, f"adapter.start={tmp_path}", f"adapter.budget={COUNT / TOTAL}"]
    changed = {word.partition("=")[0] for word in words}
    with pytest.raises(ConfigError, match=message) as refused:
        started(compose(*(w for w in given if w.partition("=")[0] not in changed), *words))
    assert "\n" not in str(refused.value)


def test_a_run_that_changes_weights_at_other_sites_is_refused(tmp_path: Path) -> None:
    words = ("task=demo_mrpc", "adapter=sparse", "adapter.budget=0.25")
    sites = ("pruner=random", "sparsity=dense", "adapter.sites=[query,value]")
    run = write_run(tmp_path, "tiny-bert", *words, *sites)
    first_rows = {name: torch.zeros(32, 32, dtype=torch.bool) for name in run.adapted.prunable}
    for mask in first_rows.values():
        mask[:8] = True
    trained = train_chosen(run.adapted, Masks(first_rows))
    tensors = {name: tensor.numpy() for name, tensor in trained.trained_state().items()}
    metadata = load_weights(run.record).metadata
    save_sparse(run.record.folder / WEIGHTS_FILE, tensors, {}, metadata)
    start = (f"adapter.start={run.record.folder}", "pruner=none", "backbone=tiny-bert")
    started(compose(*words, *start, "adapter.sites=[query,value]"))
    lost = (
        r"it changes bert\.encoder\.layer\.0\.attention\.self\.value, of which this run trains no "
    )
    with pytest.raises(ConfigError, match=lost + r"weights; set adapter\.sites=\[query,value\]$"):
        started(compose(*words, *start, "adapter.sites=[query]"))


def damaged(change: Callable[[dict[str, np.ndarray]], object]) -> dict[str, np.ndarray]:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    made = to_shira(np.array([5.0], np.float32), np.array([4]), base, 1)
    tensors = {f"base_model.model.a.{n}": t.astype(np.float32) for n, t in made.items()}
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("base_model.model.a.shira_indices"), "are not those of 5 weights"),
        (lambda t: t["base_model.model.a.shira_indices"].__setitem__((0, 0), 2), "of 2 rows and 3"),
        (lambda t: t["base_model.model.a.shira_indices"].__setitem__((1, 0), -1), "are not those"),
        (lambda t: t["base_model.model.a.shira_indices"].__setitem__((1, 0), 0.5), "are not those"),
        (lambda t: t["base_model.model.a.shira_indices"].__setitem__((1, 0), 1e30), "are not"),
        (lambda t: t["base_model.model.a.shira_indices"].__setitem__((1, 0), 1), "are not those"),
        (lambda t: t["base_model.model.a.shira_weight"].fill(0), "it changes no weight"),
    ],
)
def test_places_that_a_file_says_are_checked(
    change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    (indices, values) = from_shira(damaged(lambda _: None), {"a": matrix})["a"]
    assert (indices.tolist(), values.tolist()) == ([4], [5.0])
    with pytest.raises(ConfigError, match=message):
        from_shira(damaged(change), {"a": matrix})


@pytest.mark.slow
def test_there_and_back_and_from_a_run(tmp_path: Path) -> None:
    """A run goes to peft, from there into a second run, and that one is the start of a third."""
    rates = ("protocol.batch_size=4", "protocol.learning_rate=1e-2")
    words = [*TINY, *CPU, *rates, "adapter=sparse", "adapter.budget=0.02"]
    words += ["sparsity=0", "pruner=random"]
    first = sparsead.train(words, outputs=tmp_path)
    export_peft(first, tmp_path / "peft")
    again = [*words[:-2], "pruner=none", "adapter.start_head=true"]
    places = [n for n in load_weights(first).tensors if n.endswith(".places")]
    source: str | Path = tmp_path / "peft"
    for seed in (2, 3):
        start = [f"adapter.start={source}", f"seed={seed}"]
        record = sparsead.train([*again, *start], outputs=tmp_path)
        before, after = load_weights(first).tensors, load_weights(record).tensors
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in places)
        assert record.result["sparsity"]["scored_on"] is None
        source = record.folder
    shutil.rmtree(tmp_path / "peft")
    run = sparsead.load(record.folder)
    export_peft(record, tmp_path / "last")
    task = build_task(run.spec)
    base = load_backbone(run.spec.backbone).model(task.head, task.head_options, 1)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "last")
    torch.testing.assert_close(logits(loaded), logits(run.model), rtol=0, atol=1e-5)
