"""Options that are certainly wrong are refused without torch, in the registries' own words."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.activations import ACT2FN

from composing import ask_for
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.lengths import count_positions
from sparsead.commands.train import train_run
from sparsead.config import launchers
from sparsead.config.registry import Registry
from sparsead.config.values.adapters import ACTIVATIONS
from sparsead.config.values.tasks import METRICS
from sparsead.errors import ConfigError, DeviceError
from sparsead.pruning.contract import PRUNERS
from sparsead.runs.options import REQUIRED
from sparsead.tasks.answer_scores import ANSWER_METRICS
from sparsead.tasks.contract import TASKS
from sparsead.tasks.metrics import CLASS_METRICS, NUMBER_METRICS
from sparsead.tasks.text_scores import CORPUS_METRICS, MATCH_METRICS, ROUGE_METRICS

REGISTRIES: dict[str, Registry[Any]] = {"adapter": ADAPTERS, "pruner": PRUNERS, "task": TASKS}
GIVEN = {"limit", "path", "files", "name", "max_length", "train", "validation", "test", "scoring"}
"""Parameters that are no options: fields of `TaskSpec`, and what a pruner scores."""


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_listed_options_are_those_without_a_default(group: str) -> None:
    required = {
        name: {
            key
            for key, parameter in inspect.signature(entry).parameters.items()
            if parameter.default is parameter.empty and key not in GIVEN
        }
        for name, entry in REGISTRIES[group].entries().items()
    }
    listed = {name: set(options) for name, options in REQUIRED[group].items()}
    assert listed == required, "see sparsead/runs/options.py"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("+adapter.bottlneck=3", "adapter.bottlneck: no such key; did you mean adapter.bottleneck"),
        ("pruner=random +pruner.rounds=3", "pruner.rounds: no such key"),
        ("pruner=force pruner.rounds=few", "pruner.rounds=few: must be a whole number"),
        ("pruner=force pruner.rounds=true", "pruner.rounds=true: must be a whole number"),
        ("pruner=grasp pruner.temperature=hot", "pruner.temperature=hot: must be a number"),
        ("adapter.dropout=x", "adapter.dropout=x: must be a number"),
        ("adapter=lora adapter.init=3", "adapter.init=3: must be a text"),
        ("task=text task.label=1", "task.label=1: must be a text; a number that is meant as a te"),
        ("+task.foo=1", "task.foo: no such key"),
    ],
)
def test_a_wrong_option_is_refused_as_the_registry_refuses_it(overrides: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ask_for(*overrides.split())
    assert str(refused.value).startswith(message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("adapter.dropout=1", "adapter.dropout=1: must be at least 0 and below 1"),
        ("adapter=lora adapter.dropout=-1", "adapter.dropout=-1: must be at least 0 and below 1"),
        ("adapter.init=zero", "adapter.init=zero: no such choice; did you mean zero_up?"),
        ("adapter.layer_norm=behind", "adapter.layer_norm=behind: no such choice"),
        ("adapter.activation=rleu", "adapter.activation=rleu: no such choice; did you mean relu?"),
        ("adapter.head=froze", "adapter.head=froze: no such choice; did you mean frozen?"),
        ("adapter.sites=[ffn_out]", "adapter.sites=ffn_out: no such choice; did you mean ffn_outp"),
        ("adapter=mam adapter.length=0", "adapter.length=0: must be at least 1"),
        *(
            (f"adapter={name} adapter.scale=0", "adapter.scale=0: must not be 0, because the adap")
            for name in ("houlsby", "pfeiffer", "parallel", "mam")
        ),
        ("adapter.scale=-0.0", "adapter.scale=0: must not be 0"),
        ("adapter.scale=-1e300", "adapter.scale=-1e+300: its absolute value must be at least 1e-0"),
        ("adapter=lora adapter.alpha=0", "adapter.alpha=0: must not be 0, because the adapter wou"),
        ("adapter=dora adapter.alpha=0", "adapter.alpha=0: must not be 0"),
        ("adapter=lora adapter.alpha=1e-9", "adapter.alpha=1e-09: its absolute value must be at "),
        ("adapter=prefix adapter.prefix.scale=0", "adapter.prefix.scale=0: must be a number above"),
        ("adapter=sparse adapter.budget=2", "adapter.budget=2: must be above 0 and at most 1"),
        (
            "adapter=sparse adapter.budget=houlsbi:8",
            "adapter.budget=houlsbi:8: adapter=houlsbi: no",
        ),
        (
            "adapter=peft adapter.type=lohaa",
            "adapter.type=lohaa: no such choice; did you mean loha",
        ),
        ("adapter=fusion adapter.fusion.prune=kq", "adapter.fusion.prune=kq: no such choice"),
        ("pruner.mode=trian", "pruner.mode=trian: no such choice; did you mean train?"),
        ("pruner.faithful=papr", "pruner.faithful=papr: no such choice; did you mean paper?"),
        ("pruner.draws=3", "pruner.draws=3: without dropout all passes are equal; set pruner.mode"),
        ("pruner.mode=train pruner.draws=0", "pruner.draws=0: must be at least 1"),
        ("pruner=grasp pruner.temperature=0", "pruner.temperature=0: must be at least 1e-06 and "),
        ("pruner=grasp pruner.temperature=1e-320", "pruner.temperature=1e-320: must be at least 1"),
        (
            "pruner=grasp pruner.temperature=200 task=demo_stsb",
            "pruner.temperature=200: divides the logits of a cross-entropy, and task=demo_stsb ",
        ),
        ("pruner=force pruner.rounds=0", "pruner.rounds=0: must be at least 1"),
        ("pruner=synflow pruner.rounds=-1", "pruner.rounds=-1: must be at least 1"),
        ("pruner=force pruner.rounds=10001", "pruner.rounds=10001: must be at most 10000"),
        (
            "pruner=snip pruner.mode=train pruner.draws=2000000000",
            "pruner.draws=2000000000: must be at most 10000",
        ),
        ("task=mrpc task.metrics=[accurcy]", "task.metrics=accurcy: no such choice; did you mean "),
        ("task=stsb task.metrics=[]", "task.metrics=[]: name one of mae, mse, pearson, spearmanr"),
        ("task=mrpc task.metrics=[f1,a.f1]", "task.metrics=a.f1: f1 is a metric of the project"),
        ("task=mrpc task.metrics=[a.b,c.b]", "task.metrics=['a.b', 'c.b']: two of them have the "),
        ("task=squad task.n_best=0", "task.n_best=0: must be at least 1"),
        ("task=squad task.stride=-1", "task.stride=-1: must be at least 0"),
        ("task=text task.inputs=[]", "task.inputs: name one or two columns of text"),
        ("task=text task.inputs=[a,a]", "task.inputs=[a,a], task.label=label: names the column a "),
        ("task=text task.inputs=[a] task.validation_share=1", "task.validation_share=1: must be a"),
        (
            "task=text task.inputs=[a] task.labels=[a,b] task.regression=true",
            "task.labels: task.re",
        ),
        ("task=mrpc task.inputs=[sentence1,foo]", "task.inputs=foo: no such choice (allowed: sent"),
        ("task=mrpc task.inputs=[label]", "task.inputs=label: no such choice"),
        ("task=demo_rte task.inputs=[a,a]", "task.inputs=['a', 'a']: names a column twice"),
        ("task=boolq task.inputs=[question]", "task.inputs=['question']: name two columns of text"),
        ("task=mrpc task.labels=[null,a]", "task.labels: None is not the name of a class"),
        ("task=demo_cola task.labels=['',a]", "task.labels: '' is not the name of a class"),
        ("task=xsum task.generation.num_beams=0", "task.generation.num_beams=0: must be at least"),
        ("task=xsum task.generation.max_new_tokens=x", "task.generation.max_new_tokens=x: must be"),
        ("task=xsum task.generated_splits=[tset]", "task.generated_splits=tset: no such choice"),
        ("task=xsum task.scoring_tokenizers.rouge=englsh", "task.scoring_tokenizers.rouge=englsh:"),
    ],
)
def test_a_value_out_of_range_is_refused_where_torch_is_not_needed(
    overrides: str, message: str
) -> None:
    """`sparsead.runs` does not import torch: see the contracts in pyproject.toml."""
    with pytest.raises(ConfigError) as refused:
        ask_for(*overrides.split())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("task=text task.inputs=[a]", "task.train: name a CSV, TSV, JSONL or Parquet file"),
        ("task=text task.inputs=[a] task.train=README.md", "task.validation: name a file, or hold"),
        ("adapter=fusion", "adapter.fusion.sources=[]: name finished runs of adapter=pfeiffer"),
        (
            "backbone=roberta-base task.max_length=513",
            "task.max_length=513: backbone=roberta-base has positions for 512 tokens",
        ),
        ("task.metrics=[nowhere.cost]", "task.metrics=nowhere.cost: cannot be imported"),
        ("pruner.method=nowhere.largest", "pruner._target_=nowhere.largest: cannot be imported"),
        (
            "backbone=tiny-gpt2 adapter=lora",
            "adapter=lora cannot be inserted into backbone=tiny-gpt2: gpt2 has no query projection",
        ),
        (
            "backbone=tiny-modernbert adapter.sites=[ffn_norm]",
            "adapter=houlsby cannot be inserted into backbone=tiny-modernbert: modernbert has no",
        ),
        (
            "backbone=tiny-llama adapter.sites=[attention_output,attention_projection]",
            "adapter.sites: attention_output and attention_projection are one module in llama, lay",
        ),
    ],
)
def test_a_run_that_cannot_be_assembled_is_refused_before_torch_is_imported(
    overrides: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setitem(sys.modules, "sparsead.train", None)  # what imports torch
    with pytest.raises(ConfigError) as refused:
        train_run(ask_for(*overrides.split()))
    assert str(refused.value).startswith(message)


def test_the_listed_metrics_are_those_that_are_computed() -> None:
    assert {kind: set(names) for kind, names in METRICS.items()} == {
        "classes": set(CLASS_METRICS),
        "numbers": set(NUMBER_METRICS),
        "answers": set(ANSWER_METRICS),
        "texts": {*ROUGE_METRICS, *MATCH_METRICS, *CORPUS_METRICS},
    }


def test_the_listed_activations_are_those_of_transformers() -> None:
    assert set(ACTIVATIONS) == set(ACT2FN)


@pytest.mark.parametrize("name", ["roberta-base", "tiny-bart", "deberta-v3-base", "t5-base"])
def test_positions_are_counted_alike_without_transformers(name: str) -> None:
    architecture = ask_for(f"backbone={name}").spec.backbone.architecture
    arguments = dict(architecture)
    config = AutoConfig.for_model(arguments.pop("model_type"), **arguments)
    counted = count_positions({**config.to_dict(), "model_type": architecture["model_type"]})
    assert count_positions(architecture) == counted


def test_whole_numbers_are_numbers_and_own_methods_are_left_to_the_registries() -> None:
    ask_for("adapter.dropout=0", "pruner=grasp", "pruner.temperature=2")
    ask_for("adapter.method=my_package.Mine", "+adapter.anything=1")


def test_a_gpu_that_is_certainly_not_there_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(launchers, "GPU_DRIVERS", (tmp_path / "none",))
    with pytest.raises(DeviceError, match="device=cuda: there is no CUDA device here"):
        launchers.check_gpu("cuda")
    launchers.check_gpu("auto")
    monkeypatch.setattr(launchers, "GPU_DRIVERS", (tmp_path,))
    launchers.check_gpu("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError):
        launchers.check_gpu("cuda")


@pytest.mark.slow
def test_a_refusal_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from sparsead.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'datasets', 'huggingface_hub'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "train", "+adapter.bottlneck=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "did you mean adapter.bottleneck?" in done.stderr
    assert list(tmp_path.iterdir()) == []
