"""Runs exported for AdapterHub's package `adapters`, and what that package makes of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from exported_runs import FUSED, Written, batch, write_run
from sparsead.assembly.exported_adapterhub import export_adapterhub
from sparsead.errors import ConfigError
from sparsead.exchange.adapterhub_config import reduction_factor

ROOT = Path(__file__).parents[2]
KEYS = ROOT / "tests" / "data" / "adapterhub.json"
METHODS = {
    "houlsby": ["adapter=houlsby", "adapter.bottleneck=5", "adapter.scale=0.5"],
    "authors": ["adapter=houlsby_authors", "adapter.bottleneck=4"],
    "norm-after": ["adapter=houlsby", "adapter.bottleneck=4", "adapter.layer_norm=after"],
    "attention": ["adapter=houlsby", "adapter.bottleneck=4", "adapter.sites=[attention_output]"],
    "ffn": ["adapter=houlsby", "adapter.bottleneck=4", "adapter.sites=[ffn_output]"],
    "pfeiffer": ["adapter=pfeiffer", "adapter.bottleneck=70", "adapter.activation=gelu"],
    "norm-before": ["adapter=pfeiffer", "adapter.bottleneck=5", "adapter.layer_norm=before"],
    "parallel": ["adapter=parallel", "adapter.bottleneck=7"],
    "prefix": ["adapter=prefix", "adapter.bottleneck=3", "adapter.prefix.scale=2"],
    "mam": ["adapter=mam", "adapter.bottleneck=4"],
    "lora": ["adapter=lora", "adapter.bottleneck=3", "adapter.alpha=3"],
    "fusion": ["adapter=fusion", FUSED],
}
NOT_THERE = {
    *((backbone, method) for backbone in ("gpt2", "llama") for method in ("parallel", "mam")),
    *(("t5", method) for method in ("parallel", "prefix", "mam")),
}
NOT_HERE = {("deberta", "prefix"), ("deberta", "mam"), ("gpt2", "lora")}
BACKBONES = ("bert", "roberta", "electra", "deberta", "distilbert", "bart", "gpt2", "llama", "t5")
CASES = [
    *((backbone, method, "demo_mrpc") for backbone in BACKBONES for method in METHODS),
    *((backbone, "houlsby", "demo_squad") for backbone in ("bert", "roberta")),
    *(("bart", method, "demo_xsum") for method in ("houlsby", "prefix", "fusion")),
]
DESCRIBED = [
    *(("bert", method, "demo_mrpc") for method in METHODS if method not in ("attention", "ffn")),
    *(("bart", method, "demo_mrpc") for method in ("houlsby", "mam", "fusion")),
    *(("distilbert", method, "demo_mrpc") for method in ("houlsby", "prefix")),
    *(("gpt2", method, "demo_mrpc") for method in ("pfeiffer", "prefix")),
    ("llama", "houlsby", "demo_mrpc"),
    ("t5", "pfeiffer", "demo_xsum"),
]


def exported(folder: Path, backbone: str, method: str, task: str) -> Written:
    """Write a run and, beside it, its export."""
    run = write_run(folder, f"tiny-{backbone}", f"task={task}", *METHODS[method])
    export_adapterhub(run.record, folder / "exported")
    return run


def read(folder: Path, kind: str) -> dict[str, torch.Tensor]:
    """Return all tensors of one kind of file in a folder and the folders in it."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.rglob(f"{kind}.safetensors")):
        tensors |= load_file(file)
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "method", "task"), DESCRIBED)
def test_names_and_shapes_are_those_of_the_package(
    tmp_path: Path, backbone: str, method: str, task: str
) -> None:
    """`scripts/check_adapterhub.py` read the expected ones from models of the package."""
    run = exported(tmp_path, backbone, method, task)
    ours = read(tmp_path / "exported", "adapter") | read(tmp_path / "exported", "model_adapter_*")
    theirs = json.loads(KEYS.read_text())[f"{backbone}-{method}-{task}"]
    shapes = {name: list(tensor.shape) for name, tensor in ours.items()}
    if method in (
        "norm-before",
        "authors",
    ):  # there the norm has a second name, as the first layer of down
        theirs = {name: theirs[name] for name in theirs if ".adapter_down.0." not in name}
    assert shapes == theirs
    head = read(tmp_path / "exported", "model_head")
    assert set(head) == set(run.adapted.head)
    pickled = {
        name: tensor
        for file in (tmp_path / "exported").rglob("*.bin")
        for name, tensor in torch.load(file, weights_only=True).items()
    }
    assert set(pickled) == {*ours, *head}
    assert all(torch.equal(tensor, pickled[name]) for name, tensor in (ours | head).items())


def test_removed_weights_are_zeros_there(tmp_path: Path) -> None:
    run = exported(tmp_path, "bert", "houlsby", "demo_mrpc")
    removed = sum(int((~mask).sum()) for mask in run.masks.values())
    matrices = read(tmp_path / "exported", "adapter")
    zeros = sum(int((t == 0).sum()) for name, t in matrices.items() if name.endswith("weight"))
    assert zeros == removed > 0


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_the_package_computes_the_bottleneck_from_the_factor(width: int, bottleneck: int) -> None:
    assert int(width // reduction_factor(width, bottleneck)) == bottleneck


@pytest.mark.parametrize(
    ("backbone", "overrides", "reason"),
    [
        ("tiny-bert", ["adapter=full"], "adapter.method=full: .* it has bottleneck, pfeiffer"),
        ("tiny-t5", ["adapter=prefix", "task=demo_xsum"], "none that computes the same in t5"),
        ("tiny-mpnet", ["adapter=pfeiffer"], "the package adapters does not support mpnet"),
        (
            "tiny-bert",
            ["adapter=houlsby", "adapter.sites=[query]"],
            "no adapter at bert.encoder.layer.0.attention.self.query; it has those of attention_",
        ),
        (
            "tiny-bert",
            ["adapter=houlsby", "adapter.sites=[attention_output,attention_projection]"],
            "two of these sites are the same place",
        ),
        ("tiny-bert", ["adapter=houlsby", "adapter.backbone_norms=trained"], "to the backbone"),
        (
            "tiny-bert",
            ["adapter=pfeiffer", "adapter.activation=prelu"],
            "adapter.activation=prelu: has weights of its own",
        ),
        (
            "tiny-bert",
            ["adapter=lora", "adapter.sites=[attention_projection]"],
            "adapter.sites=attention_projection: LoRA of the package adapters has no such site",
        ),
    ],
)
def test_what_the_package_cannot_compute_is_refused(
    tmp_path: Path, backbone: str, overrides: list[str], reason: str
) -> None:
    run = write_run(tmp_path, backbone, *overrides)
    with pytest.raises(ConfigError, match=reason):
        export_adapterhub(run.record, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.slow
def test_the_package_computes_the_same(tmp_path: Path) -> None:
    """All architectures and methods, in an environment of that package."""
    python = os.environ.get("SPARSEAD_ADAPTERS")
    if not python:
        pytest.skip("needs the package adapters: see scripts/check_adapterhub.py")
    for backbone, method, task in CASES:
        task = "demo_xsum" if backbone == "t5" else task
        if (backbone, method) not in NOT_HERE | NOT_THERE:
            write_case(tmp_path / f"{backbone}-{method}-{task}", backbone, method, task)
    script = ROOT / "scripts" / "check_adapterhub.py"
    checked = subprocess.run(
        [python, script, tmp_path], capture_output=True, text=True, timeout=900
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@torch.no_grad()
def write_case(folder: Path, backbone: str, method: str, task: str) -> None:
    """Write an exported run with a batch and its logits, for `scripts/check_adapterhub.py`."""
    run = exported(folder, backbone, method, task)
    inputs = batch(run.model)
    output: Any = run.model(**inputs)
    answers = "start_logits" in output
    logits = torch.stack([output.start_logits, output.end_logits]) if answers else output.logits
    save_file({**inputs, "logits": logits.contiguous()}, folder / "outputs.safetensors")
    # The package cannot turn ELECTRA's head, nor that of a fusion, into a head of its own classes.
    flexible = backbone != "electra" and method != "fusion"
    described = {"class": type(run.model).__name__, "flexible": flexible}
    (folder / "case.json").write_text(json.dumps(described))
