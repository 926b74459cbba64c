"""Adapters of other libraries, and of finished runs, as what a run starts from."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

import sparsead
from composing import ask_for
from conftest import Cli
from crafted_pickles import CRAFTED, write_crafted
from exported_runs import Written, write_run
from sparsead.assembly.build import build_adapter, build_task, insert_adapter
from sparsead.assembly.exported_adapterhub import export_adapterhub
from sparsead.assembly.exported_peft import export_peft
from sparsead.assembly.start import load_start
from sparsead.backbones.loading import load_backbone
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.exchange.reading import read_adapter, read_head
from sparsead.pruning.storage import load_weights, save_sparse
from sparsead.runs.defaults import OPTIONS
from sparsead.runs.foreign import digest_foreign, read_foreign
from sparsead.runs.identity import compute_identity, compute_setting
from sparsead.runs.prerequisites import resolve_sources
from sparsead.runs.request import RunRequest
from sparsead.train import train

HOULSBY = ("adapter=houlsby", "adapter.bottleneck=5", "adapter.scale=0.5")
METHODS = {
    "houlsby": HOULSBY,
    "authors": ("adapter=houlsby_authors", "adapter.bottleneck=4"),
    "pfeiffer": ("adapter=pfeiffer", "adapter.bottleneck=70", "adapter.layer_norm=after"),
    "parallel": ("adapter=parallel", "adapter.bottleneck=7"),
    "prefix": ("adapter=prefix", "adapter.bottleneck=3", "adapter.prefix.scale=2"),
    "mam": ("adapter=mam", "adapter.bottleneck=4"),
    "lora": ("adapter=lora", "adapter.bottleneck=3", "adapter.alpha=6"),
    "ia3": ("adapter=ia3",),
}
SMALL: dict[str, Any] = {
    "mh_adapter": True,
    "output_adapter": True,
    "reduction_factor": 2,
    "non_linearity": "relu",
}
HUB: dict[str, Any] = {"hidden_size": 32, "model_type": "bert", "name": "x"}
DEMO = ("backbone=tiny-bert", "task=demo_mrpc", "task.limit=8", "protocol.epochs=1", "device=cpu")


def exported(folder: Path, library: str, *overrides: str, backbone: str = "tiny-bert") -> Written:
    run = write_run(folder, backbone, *overrides)
    write = export_peft if library == "peft" else export_adapterhub
    write(run.record, folder / "theirs")
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "backbone", "method"),
    [
        *(("adapters", "tiny-bert", method) for method in METHODS if method != "ia3"),
        *(("adapters", "tiny-bart", method) for method in ("houlsby", "mam")),
        *(("peft", "tiny-bert", method) for method in ("lora", "ia3", "prefix")),
    ],
)
def test_what_was_exported_is_read_again_as_it_was(
    tmp_path: Path, library: str, backbone: str, method: str
) -> None:
    run = exported(tmp_path, library, *METHODS[method], backbone=backbone)
    adapter = run.record.result["config"]["adapter"]
    wanted = {n: tuple(run.model.get_parameter(n).shape) for n in run.adapted.adapter}
    model_type = run.model.config.model_type
    found = read_adapter(tmp_path / "theirs", adapter["options"], model_type, wanted)
    stored = load_weights(run.record).tensors
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, stored[name], rtol=1e-6, atol=1e-7)
        assert np.array_equal(tensor == 0, stored[name] == 0)
    shapes = {n: tuple(run.model.get_parameter(n).shape) for n in run.adapted.head}
    for source in (tmp_path / "theirs", run.record.folder):
        for name, tensor in read_head(source, shapes).items():
            assert np.array_equal(tensor, stored[name])
        with pytest.raises(ConfigError, match=r"has no head of this task: no .* of shape \[7\]"):
            read_head(source, dict.fromkeys(shapes, (7,)))
    described = read_foreign(tmp_path / "theirs")
    assert described.method == adapter["method"]
    options = {**OPTIONS["adapter"][adapter["method"]], **adapter["options"]}
    here = {**options, "length": adapter["options"].get("bottleneck")}
    if backbone == "tiny-bart":
        here["length"] = 3  # two thirds of r, rounded
    assert described.options.items() <= here.items()


def edit_prefix(run: Written, prefix: object, *, in_weights: bool) -> None:
    """Write other options of prefixes into a run's result and, if asked to, into its weights."""
    file = run.record.folder / "result.json"
    result = json.loads(file.read_text())
    result.pop("sha256", None)
    result["config"]["adapter"]["options"]["prefix"] = prefix
    file.write_text(json.dumps(result))
    if in_weights:
        stored = load_weights(run.record)
        metadata = stored.metadata | {"config": result["config"]}
        weights = run.record.folder / "adapter.safetensors"
        save_sparse(weights, stored.tensors, stored.masks, metadata)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ({"scale": 0}, "adapter.prefix.scale=0: must be a number above 0"),
        ({"scale": -1}, "adapter.prefix.scale=-1: must be a number above 0"),
        ({"scale": "x"}, "adapter.prefix.scale='x': must be a number above 0"),
        ({"scale": 10**400}, "adapter.prefix.scale: its whole number has more than 64 bits"),
        ({"scale": 1e308}, "has values that are not finite"),
        (5, "adapter.prefix=5: must be a mapping"),
    ],
)
def test_a_run_whose_prefixes_cannot_be_so_is_no_start(
    tmp_path: Path, prefix: object, message: str
) -> None:
    run = write_run(tmp_path, "tiny-bert", *METHODS["prefix"])
    options = run.record.result["config"]["adapter"]["options"]
    wanted = {n: tuple(run.model.get_parameter(n).shape) for n in run.adapted.adapter}
    read = partial(read_adapter, run.record.folder, options, "bert", wanted)
    edit_prefix(run, {"scale": 3}, in_weights=False)
    with pytest.raises(RecordError, match=r"prefix\..* the weights beside it were trained with"):
        read()
    edit_prefix(run, prefix, in_weights=True)
    with pytest.raises((ConfigError, RecordError), match=re.escape(message)) as error:
        read()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_run_starts_from_a_folder_and_keeps_its_mask(tmp_path: Path) -> None:
    run = exported(tmp_path, "adapters", *HOULSBY, "task=demo_mrpc")
    asked = start_from(tmp_path, run, "pruner=magnitude", "sparsity.ratio=0.4")
    record = train(asked)
    again = load_weights(record)
    for name, mask in run.masks.items():
        assert np.array_equal(again.masks[name], mask.numpy())
    before = load_weights(run.record).tensors
    assert all(np.abs(again.tensors[n] - before[n]).max() < 0.1 for n in run.adapted.adapter)
    rebuilt = sparsead.load(record.folder)
    assert rebuilt.spec.adapter.start is None
    (tmp_path / "theirs" / "adapter.safetensors").unlink()
    sparsead.load(record.folder)


@pytest.mark.slow
def test_weights_that_train_again_are_said(tmp_path: Path, forked: Cli) -> None:
    run = exported(tmp_path, "adapters", *HOULSBY, "task=demo_mrpc")
    words = ["train", *DEMO, f"backbone.path={run.base}", *HOULSBY, "adapter.start=theirs"]
    done = forked([*words, "pruner=none", "sparsity=0"])
    assert "the adapter starts from theirs\n" in done.stdout, done.stderr
    removed = sum(int((~mask).sum()) for mask in run.masks.values())
    assert f"{removed} weights that were removed in the start train again" in done.stdout
    assert "pruner=magnitude sparsity=0.4 keeps them removed" in done.stdout


def start_from(folder: Path, run: Written, *overrides: str) -> RunRequest:
    """Return the request of a run that starts from the folder `theirs`."""
    start = (f"adapter.start={folder / 'theirs'}", f"outputs={folder / 'outputs'}")
    request = ask_for(*DEMO, f"backbone.path={run.base}", *HOULSBY, *start, *overrides)
    return replace(request, spec=resolve_sources(request.spec, request.outputs))


@pytest.mark.slow
def test_a_fusion_combines_a_folder_and_a_run(tmp_path: Path) -> None:
    folder = exported(tmp_path / "a", "adapters", "adapter=pfeiffer", "adapter.bottleneck=6")
    other = write_run(tmp_path / "b", "tiny-bert", "adapter=pfeiffer", "adapter.bottleneck=4")
    sources = f"adapter.fusion.sources=[{tmp_path / 'a' / 'theirs'},{other.record.folder}]"
    request = ask_for(*DEMO, "adapter=fusion", sources, f"outputs={tmp_path / 'outputs'}")
    spec = resolve_sources(request.spec, request.outputs)
    model = insert_adapter(spec, build_adapter(spec), folder_backbone(spec))
    for number, source in enumerate((folder, other)):
        stored = load_weights(source.record).tensors
        for name in source.adapted.adapter:
            fused = name.replace(".adapter.", f".adapter.tasks.{number}.")
            assert np.array_equal(model.model.get_parameter(fused).numpy(), stored[name])


def folder_backbone(spec: RunSpec) -> PreTrainedModel:
    task = build_task(spec)
    return load_backbone(spec.backbone).model(task.head, task.head_options, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["adapter.activation=gelu"], "trained with relu; set adapter.activation=relu"),
        (["adapter.bottleneck=4"], "adapter.bottleneck=4: .* set adapter.bottleneck=5"),
        (["adapter.layer_norm=after"], "set adapter.layer_norm=null"),
        (["adapter=pfeiffer"], "its adapter has the method bottleneck; this run has adapter=pfeif"),
        (["adapter.sites=[ffn_output]"], "it has bert.* for which this run's adapter has no place"),
        (["backbone=tiny-roberta"], "of the architecture bert; this run's is roberta"),
        (["adapter.start=nowhere"], "adapter.start: .*nowhere.* has adapter_config.json"),
    ],
)
def test_weights_of_another_adapter_are_refused(
    tmp_path: Path, overrides: list[str], reason: str
) -> None:
    exported(tmp_path, "adapters", *HOULSBY)
    given = [*DEMO, *HOULSBY, f"adapter.start={tmp_path / 'theirs'}", f"outputs={tmp_path}"]
    changed = {override.partition("=")[0] for override in overrides}
    kept = [each for each in given if each.partition("=")[0] not in changed]
    with pytest.raises(ConfigError, match=reason):
        insert_and_start(ask_for(*kept, *overrides))


@pytest.mark.slow
def test_a_run_that_starts_from_a_part_of_another_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, "tiny-bert", *HOULSBY)
    given = [*DEMO, *HOULSBY, f"adapter.start={run.record.folder}", f"outputs={tmp_path}"]
    insert_and_start(ask_for(*given))
    with pytest.raises(ConfigError, match=r"it has bert.* for which this run's adapter has no pla"):
        insert_and_start(ask_for(*given, "adapter.sites=[ffn_output]"))


def insert_and_start(request: RunRequest) -> None:
    """Do what a run does before it prunes its adapter."""
    spec = resolve_sources(request.spec, request.outputs)
    load_start(spec, insert_adapter(spec, build_adapter(spec), folder_backbone(spec)))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "LOHA"}, "peft_type=LOHA: must be IA3, LORA, PREFIX_TUNING"),
        ({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": True}, "use_dora=True: this"),
        ({"peft_type": "LORA", "r": "4", "lora_alpha": 8}, "r='4': must be a valid integer"),
        (
            {"config": {"phm_layer": True, **SMALL}, **HUB},
            "phm_layer=True: this program only has F",
        ),
        ({"config": {**SMALL, "scaling": "learned"}, **HUB}, "scaling='learned': must be"),
        ({"config": {**SMALL, "leave_out": [0]}, **HUB}, r"leave_out=\[0\]: this program only"),
        (
            {"config": {"architecture": "reft"}, **HUB},
            "architecture=reft: this program has no such",
        ),
        ({"config": {**SMALL, "reduction_factor": 5e-324}, **HUB}, "is not an adapter of adapt"),
        (
            {"config": {**SMALL, "reduction_factor": 0.5}, **HUB, "hidden_size": 10**400},
            "too large",
        ),
        ({}, "no 'config'"),
        ([], "is not an adapter of adapters or peft"),
    ],
)
def test_an_adapter_that_this_program_does_not_have_is_refused(
    tmp_path: Path, config: object, reason: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=reason):
        read_foreign(tmp_path)


def test_tensors_in_bfloat16_are_read_and_what_no_weights_can_be_is_refused(
    tmp_path: Path,
) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    name, key = "a.adapter.lora_A.weight", "base_model.model.a.lora_A.weight"
    read = partial(read_adapter, tmp_path, {"bottleneck": 2}, "bert", {name: (2, 3)})
    safe = tmp_path / "adapter_model.safetensors"
    save_file({key: torch.ones(2, 3, dtype=torch.bfloat16)}, safe)
    assert np.array_equal(read()[name], np.ones((2, 3)))
    save_file({key: torch.full((2, 3), torch.nan)}, safe)
    with pytest.raises(ConfigError, match="has values that are not finite"):
        read()
    save_file({key: torch.ones(2, 3, dtype=torch.complex64)}, safe)
    with pytest.raises(ConfigError, match=r"a tensor is of torch\.complex64"):
        read()
    header = {key: {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}
    content = json.dumps(header).encode()
    safe.write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(ConfigError, match="its tensors cannot be read") as raised:
        read()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_pickle_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    write_crafted(kind, tmp_path / "adapter_model.bin")
    with pytest.raises(ConfigError, match=r"cannot be read \(adapter_model\.bin: ") as raised:
        read_adapter(tmp_path, {"bottleneck": 2}, "bert", {})
    assert "\n" not in str(raised.value)


def test_a_digest_reads_files_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "endless.bin").symlink_to("/dev/zero")
    (tmp_path / "broken.bin").symlink_to(tmp_path / "nothing")
    assert len(digest_foreign(tmp_path)) == 1


@pytest.mark.slow
def test_a_pickle_is_read_but_never_executed(tmp_path: Path) -> None:
    run = exported(tmp_path, "adapters", *HOULSBY)
    (tmp_path / "theirs" / "adapter.safetensors").unlink()
    options = run.record.result["config"]["adapter"]["options"]
    wanted = {n: tuple(run.model.get_parameter(n).shape) for n in run.adapted.adapter}
    found = read_adapter(tmp_path / "theirs", options, "bert", wanted)
    stored = load_weights(run.record).tensors
    assert all(np.array_equal(found[name], stored[name]) for name in wanted)
    (tmp_path / "theirs" / "pytorch_adapter.bin").write_bytes(pickle.dumps(Harmful(tmp_path)))
    with pytest.raises(ConfigError, match=r"its tensors cannot be read"):
        read_adapter(tmp_path / "theirs", options, "bert", wanted)
    assert not (tmp_path / "harmed").exists()


class Harmful:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.folder / "harmed",))


@pytest.mark.slow
def test_a_start_counts_in_the_identity_by_its_content(tmp_path: Path) -> None:
    run = exported(tmp_path, "adapters", *HOULSBY)
    first = start_from(tmp_path, run)
    without = replace(first.spec, adapter=replace(first.spec.adapter, start=None))
    identity, setting = compute_identity(first.spec), compute_setting(first.spec)
    assert identity != compute_identity(without)
    (tmp_path / "theirs").rename(tmp_path / "moved")
    moved = replace(first.spec, adapter=replace(first.spec.adapter, start=str(tmp_path / "moved")))
    assert compute_identity(moved) == identity
    assert compute_setting(moved) == setting
    config = json.loads((tmp_path / "moved" / "adapter_config.json").read_text())
    config["config"]["non_linearity"] = "gelu"
    (tmp_path / "moved" / "adapter_config.json").write_text(json.dumps(config))
    assert compute_identity(moved) != identity
