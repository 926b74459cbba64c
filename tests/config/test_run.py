from __future__ import annotations

import math
import re
from pathlib import Path

import hydra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from composing import compose
from sparsead.config.compose import compose as compose_one
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.pruning.prune import prune
from sparsead.runs.identity import compute_identity

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [
        f"{folder.name}={file.stem}"
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name not in ("table", "experiment")
        for file in sorted(folder.glob("*.yaml"))
        if file.stem != "folder"  # needs a folder, see test_backbone_folder.py
    ],
)
def test_every_choice_is_a_valid_run(choice: str) -> None:
    compose(choice, *(["task.inputs=[text]"] if choice == "task=text" else []))


@pytest.mark.slow
@settings(max_examples=10)
@given(st.integers(min_value=1, max_value=64))
def test_large_sparse_keeps_the_parameter_count_exactly(scale: int) -> None:
    spec = compose("sparsity=large_sparse", f"sparsity.scale={scale}")
    assert spec.adapter.options["bottleneck"] == 64 * scale
    assert spec.sparsity == 1 - 1 / scale


def test_large_sparse_scales_what_is_pruned_alone() -> None:
    large = ("adapter=mam", "sparsity=large_sparse", "sparsity.scale=1.5", "adapter.bottleneck=4")
    assert compose(*large, "adapter.length=4").adapter.options["length"] == 6
    kept = compose(*large, "adapter.length=3", "adapter.prefix.prune=false")
    assert kept.adapter.options["length"] == 3
    with pytest.raises(ConfigError, match="times length 3 is not a whole number"):
        compose(*large, "adapter.length=3")
    with pytest.raises(ConfigError, match="give their number as adapter"):
        compose(*large, "adapter.prefix.prune=false")


def test_a_scaled_lora_keeps_its_factor() -> None:
    spec = compose("adapter=lora", "sparsity=large_sparse", "sparsity.scale=4")
    assert (spec.adapter.options["bottleneck"], spec.adapter.options["alpha"]) == (32, 256)


def test_a_fractional_scale_must_give_a_whole_bottleneck() -> None:
    assert compose("sparsity=large_sparse", "sparsity.scale=1.5").sparsity == 1 - 1 / 1.5
    with pytest.raises(ConfigError, match="is not a whole number"):
        compose("sparsity=large_sparse", "sparsity.scale=1.3")


def test_full_fine_tuning_turns_pruning_off() -> None:
    spec = compose("adapter=full")
    assert (spec.pruner.name, spec.sparsity) == ("none", 0)
    assert spec.protocol.learning_rate == pytest.approx(5e-5)


def test_the_dense_adapter_has_sparsity_zero() -> None:
    assert compose("pruner=none").sparsity == 0


_PERCENT = "sparsity.ratio=40: the share removed must be at least 0 and below 1; did you mean 0.4?"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sparsity.ratio=1", "sparsity.ratio=1: "),
        ("sparsity.ratio=40", _PERCENT),
        ("sparsity.ratio=-0.1", "sparsity.ratio=-0.1: "),
        ("sparsity.scale=0.5", "sparsity.scale=0.5: must be at least 1"),
        ("sparsity.ratio=nan", "sparsity.ratio=nan: "),
        ("protocol.epochs=0", "protocol.epochs=0: must be at least 1"),
        ("protocol.epochs=two", "protocol.epochs=two: must be a whole number"),
        ("protocol.betas=0.9", "protocol.betas=0.9: must be a list of numbers"),
        ("task.limit=x", "task.limit=x: must be a whole number or null"),
        ("rerun=maybe", "rerun=maybe: must be true or false"),
        ("protocol.learning_rate=0", "protocol.learning_rate=0: "),
        ("protocol.warmup=1.5", "protocol.warmup=1.5: "),
        ("seed=-1", "seed=-1: must be a whole number from 0 to 4294967295"),
        ("seed=4294967296", "seed=4294967296: must be a whole number from 0"),
        ("seed_mask=-1", "seed_mask=-1: must be a whole number from 0"),
        ("protocol.max_grad_norm=inf", "protocol.max_grad_norm=inf: must be a finite number"),
        ("protocol.batch_size=9999999999", "protocol.batch_size=9999999999: must be at most 21474"),
        ("protocol.warmup=inf", "protocol.warmup=inf: must be a finite number"),
        ("protocol.betas=[nan,0.9]", "protocol.betas=nan: must be a finite number"),
        ("+adapter.sizes={1:2,r:4}", "adapter.sizes: its key 1 is not a text; give it a name"),
        ("+adapter.sizes={a:[{true:2}]}", "adapter.sizes.a: its key True is not a text"),
        (f"+adapter.sizes=[{2**64}]", "adapter.sizes: its whole number has more than 64 bits"),
        ("backbone.package=no.such", "backbone.package=no.such: must be the name of a package"),
        ("seed_data=one", "seed_data=one"),
        ("device=gpu", "device=gpu: no such choice; did you mean cuda?"),
        ("precision=fp16", "precision=fp16: no such choice; did you mean bf16?"),
        ("pruner.scope=layer", "pruner.scope=layer: no such choice"),
        ("pruner.control=shufle", "pruner.control=shufle: no such choice; did you mean shuffle?"),
        ("pruner=nm pruner.control=shuffle", "pruner.control=shuffle: pruner=nm supports none, "),
        ("pruner=none pruner.control=invert", "pruner.control=invert: pruner=none supports none"),
        ("sparsity.ratio=0 pruner.control=invert", "pruner.control=invert: at sparsity=0 "),
        ("task.limit=0", "task.limit=0: must be at least 1"),
        ("task.path=/nowhere", "task.path=/nowhere: is not a folder"),
        ("backbone.path=/nowhere", "backbone.path=/nowhere: is not a folder"),
        ("adapter.bottleneck=wide", "adapter.bottleneck=wide: must be a whole number"),
        ("adapter.bottleneck=0", "adapter.bottleneck=0: must be at least 1"),
        ("+protcol.epochs=3", "protcol: no such key; did you mean protocol?"),
        ("~pruner", "pruner: is missing"),
        ("~protocol.epochs", "protocol.epochs: is missing"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose(*override.split())
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "learning_rate"),
    [
        (["task=cola"], 1e-3),
        (["task=mrpc"], 5e-4),
        (["task=cola", "protocol=clean"], 1e-3),
        (["task=cola", "protocol.learning_rate=2e-4"], 2e-4),
        (["task=cola", "protocol=paper"], 1e-4),
        (["task=cola", "adapter=full"], 5e-5),
        (["task=cola", "adapter=full", "protocol=paper"], 5e-5),
        (["task=cola", "adapter=fusion"], 5e-5),
    ],
)
def test_a_task_has_its_own_point_until_the_user_names_one(
    overrides: list[str], learning_rate: float
) -> None:
    assert compose(*overrides).protocol.learning_rate == pytest.approx(learning_rate)


@pytest.mark.slow
def test_an_adapter_s_own_point_goes_before_the_task_s_and_behind_the_user_s(
    tmp_path: Path,
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "slow.yaml").write_text(
        "defaults: [houlsby, _self_]\nname: slow\nprotocol: {learning_rate: 3e-3, epochs: 7}\n",
        "utf-8",
    )
    point = ["task=cola", "adapter=slow", f"hydra.searchpath=[file://{tmp_path}]"]

    def protocol(*overrides: str) -> tuple[float, int, int]:
        spec = compose_one([*point, *overrides]).protocol
        return spec.learning_rate, spec.epochs, spec.batch_size

    assert protocol() == protocol("protocol=clean") == (3e-3, 7, 16)
    assert protocol("protocol.learning_rate=2e-4") == (2e-4, 7, 16)
    assert protocol("protocol=paper") == (3e-3, 10, 16)
    assert compute_identity(compose_one(point)) == compute_identity(
        compose_one(
            [*point, "~adapter.protocol", "protocol.learning_rate=3e-3", "protocol.epochs=7"]
        )
    )
    with pytest.raises(ConfigError, match=r"did you mean adapter\.protocol\.epochs"):
        compose_one([*point, "+adapter.protocol.epoch=3"])


def _rate(*overrides: str) -> float:
    return compose_one(overrides).protocol.learning_rate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "learning_rate"),
    [("prefix", 5e-4), ("bitfit", 5e-3), ("full", 5e-5), ("houlsby", 5e-4), ("fusion", 5e-5)],
)
def test_an_adapter_that_needs_another_rate_has_it_by_default(
    method: str, learning_rate: float
) -> None:
    adapter = f"adapter={method}"
    assert _rate(adapter) == _rate(adapter, "protocol=clean") == learning_rate
    own = compose_one([adapter]).adapter.protocol.get("learning_rate", 1e-4)
    assert _rate(adapter, "protocol=paper") == own
    assert _rate(adapter, "protocol.learning_rate=3e-4") == 3e-4


def test_a_grid_is_no_single_run_until_each_of_its_keys_is_given() -> None:
    point = ["protocol.learning_rate=2e-4", "protocol.epochs=5", "protocol.batch_size=8"]
    with pytest.raises(ConfigError, match=r"search=grid: sweeps protocol\.batch_size; give one"):
        compose_one(["search=grid", *point[:2]])
    assert compose_one(["search=grid", *point]).protocol.batch_size == 8


def test_both_searches_go_over_the_papers_80_points() -> None:
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        grid = hydra.compose("train", ["search=grid"], return_hydra_config=True).hydra
        asha = hydra.compose("train", ["search=asha"]).search
    assert grid.mode.name == "MULTIRUN"
    points = {key: list(map(float, v.split(","))) for key, v in grid.sweeper.params.items()}
    assert math.prod(map(len, points.values())) == 80
    assert points == {f"protocol.{k}": asha[k] for k in ("learning_rate", "epochs", "batch_size")}


def test_an_unknown_protocol_key_of_a_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean task\.protocol\.learning_rate"):
        compose("task=cola", "+task.protocol.learning_rat=1e-3")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pruner=none", "sparsity.ratio=0.4"], "pruner=none removes nothing"),
        (["pruner=nm", "sparsity.ratio=0.4"], "sparsity.ratio=0.4: pruner=nm keeps 2/4 of the"),
        (["pruner=nm", "pruner.n=1"], "pruner=nm keeps 1/4 of the weights; choose sparsity=0.75"),
        (
            ["pruner=nm", "pruner.n=4"],
            "pruner.density=4/4: must be a share such as 2/4, above 0 and",
        ),
        (["pruner=nm", "pruner.n=1.5"], "pruner.density=1.5/4: must be a share such as 2/4"),
        (["pruner=nm", "pruner.density='1e-20'"], "pruner.density=1e-20: must be a share"),
        (["pruner=nm", "pruner.m=0"], "pruner.density=2/0: must be a share such as 2/4"),
    ],
)
def test_a_sparsity_that_the_pruner_cannot_give_is_refused(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        compose(*overrides)


def test_a_pruner_of_one_density_takes_its_sparsity_or_none() -> None:
    third = f"sparsity.ratio={2 / 3}"
    assert compose("pruner=nm", "pruner.n=1", "pruner.m=3", third).sparsity == 2 / 3
    assert compose("pruner=nm", "sparsity.ratio=0").sparsity == 0
    assert compose("pruner=nm", "pruner.density=0.5", "sparsity.ratio=0.5").sparsity == 0.5
    unchecked = compose_one(["pruner=nm", "pruner.density=null"])
    assert compute_identity(unchecked) == compute_identity(compose_one(["pruner=nm"]))


def test_a_users_own_pruner_is_a_file_and_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "pruner").mkdir(parents=True)
    text = "name: largest\n_target_: users_pruners.largest\npower: 2\n"
    (tmp_path / "conf" / "pruner" / "largest.yaml").write_text(text)
    code = (
        "def largest(scoring, *, power=1):\n"
        "    return {name: abs(tensor) ** power for name, tensor in scoring.tensors.items()}\n"
    )
    (tmp_path / "users_pruners.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    spec = compose(f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "pruner=largest").pruner
    model = nn.Linear(4, 4)
    masks = prune(model, tensors=["weight"], sparsity=0.5, pruner=spec.method, **spec.options)
    kept = model.weight.detach()[masks["weight"]].abs()
    assert int(masks["weight"].sum()) == 8
    assert (model.weight.detach() != 0).sum() == 8
    assert kept.min() > 0


def test_a_new_key_is_for_interpolations() -> None:
    spec = compose("+width=24", "adapter.bottleneck=${width}")
    assert spec.adapter.options["bottleneck"] == 24


@pytest.mark.parametrize("betas", ["[0.9]", "[0.9,1.5]"])
def test_betas_are_two_shares(betas: str) -> None:
    with pytest.raises(ConfigError, match=r"protocol\.betas="):
        compose(f"protocol.betas={betas}")


def test_a_path_without_the_tasks_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"MRPC/train\.tsv is missing"):
        compose("task=mrpc", f"task.path={tmp_path}")
    for folder in ("MRPC", "MRPC/below"):
        (tmp_path / folder).mkdir()
        for split in ("train", "dev"):
            (tmp_path / "MRPC" / f"{split}.tsv").touch()
        with pytest.raises(ConfigError) as error:
            compose("task=mrpc", f"task.path={tmp_path / folder}")
        hint = f"; did you mean task.path={tmp_path}?"
        assert str(error.value).endswith(hint) == (folder == "MRPC")
    with pytest.raises(ConfigError, match="reads no files"):
        compose("task=demo_mrpc", f"task.path={tmp_path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["../../x", "a/b", ".hidden", "", "a b", "x\n", "é\u0301", "n" * 65]
)
@pytest.mark.parametrize("group", ["backbone", "task", "adapter", "pruner"])
def test_a_name_is_safe_as_part_of_a_path(group: str, name: str) -> None:
    values = compose().to_dict()
    values[group]["name"] = name
    with pytest.raises(ConfigError, match=f"{group}.name="):
        RunSpec.from_dict(values)


@pytest.mark.parametrize("name", ["sst-2", "reviews.en", "x_1", "größe"])
def test_letters_digits_dot_underscore_and_hyphen_are_allowed_in_a_name(name: str) -> None:
    values = compose().to_dict()
    values["task"]["name"] = name
    assert RunSpec.from_dict(values).task.name == name


def test_the_names_of_submissions_are_safe() -> None:
    values = compose("task=mnli").to_dict()
    values["task"]["options"]["tests"] = {"../../x": {"hub": "test", "file": "x.tsv"}}
    with pytest.raises(ConfigError, match=r"task\.tests=\.\./\.\./x: a name has only"):
        RunSpec.from_dict(values)


@pytest.mark.parametrize("name", ["../../x", "hard-2", "test.v2", "été", "2nd", "x\n", "n" * 65])
@pytest.mark.parametrize("key", ["files", "hub_splits"])
def test_a_split_has_a_name_under_which_its_predictions_can_be_read(key: str, name: str) -> None:
    values = compose("task=mnli").to_dict()
    place = values["task"] if key == "files" else values["task"]["options"]
    place[key] = place[key] | {name: "x.tsv"}
    with pytest.raises(ConfigError, match=rf"(?s)task\.{key}=.*: the name of a split has only"):
        RunSpec.from_dict(values)


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.tsv"])
def test_a_test_set_lies_below_its_folder(file: str) -> None:
    values = compose("task=mnli").to_dict()
    values["task"]["options"]["tests"] = {"x": {"hub": "test", "file": file}}
    with pytest.raises(ConfigError, match="must lie below the folder of the test sets"):
        RunSpec.from_dict(values)


def test_a_head_starts_from_nothing_without_a_start() -> None:
    with pytest.raises(ConfigError, match=r"adapter.start_head=true: needs adapter.start=RUN"):
        compose("adapter.start_head=true")


@pytest.mark.parametrize("group", ["adapter", "pruner", "task"])
def test_a_key_named_options_is_refused_and_not_dropped(group: str) -> None:
    with pytest.raises(ConfigError, match=rf"{group}\.options: no such key"):
        compose("task=mrpc", f"+{group}.options={{a: 1}}")
