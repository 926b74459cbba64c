"""A backbone in a folder of the user's own is recorded as what it is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from composing import ask_for
from sparsead.config.compose import compose
from sparsead.config.overrides import expand
from sparsead.errors import ConfigError

ROBERTA = {
    "architectures": ["RobertaForMaskedLM"],
    "_name_or_path": "/home/me/roberta",
    "auto_map": {"AutoConfig": "own.C"},
    "id2label": {"0": "no", "1": "yes"},
    "model_type": "roberta",
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "layer_norm_eps": 1e-05,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(Path("my roberta (v2)"))
    return Path("my roberta (v2)")


def write(folder: Path, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(ROBERTA | changes))


@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone=./my roberta (v2)"],
        ["backbone.path=my roberta (v2)"],
        ["++backbone.path=my roberta (v2)"],
        ["backbone=folder", "backbone.path=./my roberta (v2)/"],
        ["backbone=./a/../my roberta (v2)"],
    ],
)
def test_it_is_named_after_its_folder_with_the_architecture_of_its_configuration(
    folder: Path, overrides: list[str]
) -> None:
    Path("a").mkdir()
    backbone = compose(overrides).backbone
    assert backbone.name == "my-roberta-v2"
    assert backbone.architecture == {
        "model_type": "roberta",
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "layer_norm_eps": 1e-05,
    }
    assert backbone.package is None
    assert backbone.hub is None
    assert backbone.dropout is None


def test_an_absolute_path_and_a_name_of_ones_own_are_taken(folder: Path) -> None:
    assert compose([f"backbone={folder.absolute()}"]).backbone.name == "my-roberta-v2"
    assert compose([f"backbone=./{folder}", "backbone.name=mine"]).backbone.name == "mine"


def test_a_chosen_backbone_keeps_its_name_if_the_folder_is_of_its_architecture(
    folder: Path,
) -> None:
    copy = [f"backbone.path={folder}"]
    with pytest.raises(ConfigError, match="has model_type=roberta, but backbone=bert"):
        compose(["backbone=bert-base", *copy])
    with pytest.raises(
        ConfigError, match="hidden_size=24, but backbone=roberta-base has 768; leave"
    ):
        compose(["backbone=roberta-base", *copy])
    write(folder, hidden_size=768, num_hidden_layers=12)
    backbone = compose(["backbone=roberta-base", *copy]).backbone
    assert (backbone.name, backbone.hub) == ("roberta-base", "FacebookAI/roberta-base")
    with pytest.raises(ConfigError, match="backbone=minilm has bert"):  # without the command line
        ask_for("backbone.path='my roberta (v2)'")


def nested(levels: int) -> str:
    inner = '{"a":' * levels + "1" + "}" * levels
    return f'{{"model_type": "bert", "a": {inner}}}'


@pytest.mark.parametrize(
    ("overrides", "content", "message"),
    [
        (["backbone=./nowhere"], None, "backbone.path=./nowhere: is not a folder"),
        (
            ["backbone=folder"],
            None,
            "backbone=folder: needs backbone.path=FOLDER; backbone=./FOLDER",
        ),
        (["backbone=./x"], None, "backbone.path=x: has no config.json; it is not a model's folder"),
        (
            ["backbone=x"],
            None,
            "backbone=x: no such choice; the folder of this name is backbone=./x",
        ),
        (["backbone="], None, "backbone=: no such choice (allowed: "),
        (["backbone=./x,minilm"], None, "backbone=./x,minilm: mixes folders and names"),
        (["backbone=./x"], "{", "x/config.json: cannot be read"),
        (["backbone=./x"], "[]", "x/config.json: names no model_type"),
        (["backbone=./x"], nested(5000), "x/config.json: cannot be read"),
        (["backbone=./x"], nested(200), "x/config.json: is nested deeper than a model's"),
        (["backbone=./x"], '{"model_type": 3}', "x/config.json: names no model_type"),
        (["backbone=./x"], '{"model_type": "${oc.env:HOME}"}', "x/config.json: has a '${'"),
    ],
)
def test_what_is_no_models_folder_is_refused_in_one_line(
    overrides: list[str],
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    if content is not None:
        Path("x/config.json").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        compose(overrides)
    assert "\n" not in str(caught.value)


def test_a_sweep_over_folders_is_one_over_their_paths() -> None:
    assert expand(["backbone=./a,../b"]) == ["backbone=folder", "backbone.path=./a,../b"]
    assert expand(["backbone.path=null"]) == ["backbone.path=null"]
    assert expand(["++backbone.path=null"]) == ["++backbone.path=null"]
    assert expand(["backbone=minilm,bert-base"]) == ["backbone=minilm,bert-base"]


def test_a_pipe_in_the_place_of_a_configuration_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read \(it is no file\)"):
        compose([f"backbone={tmp_path}"])
