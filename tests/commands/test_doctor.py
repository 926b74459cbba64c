from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from sparsead.commands import doctor
from stand_in_hub import StandInHub


def absent(package: str) -> str:
    raise PackageNotFoundError(package)


def test_every_extra_is_named_with_the_command_that_adds_it(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    every = project["project"]["optional-dependencies"]
    extras = {name: every[name] for name in every.keys() - {"dev", "docs"}}
    assert extras.keys() == doctor.EXTRAS.keys()
    assert all(re.split("[=>]", extras[name][0])[0] == p for name, p in doctor.EXTRAS.items())
    monkeypatch.setattr(doctor, "version", absent)
    said = dict(doctor.list_installed())
    for extra in doctor.EXTRAS:
        assert any(f"pip install 'sparsead[{extra}]'" in text for text in said.values())
    assert "from the hub (sentence-transformers/all-MiniLM-L6-v2)" in said["backbone=minilm"]
    assert "no mlflow (pip install mlflow)" in said["tracking"]
    assert hub.requests == []


@pytest.mark.slow
def test_it_says_what_is_here_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FacebookAI--roberta-base", "google-bert--bert-base-uncased"):
        repository = tmp_path / "hub" / f"models--{name}"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
    for file in ("config.json", "model.safetensors"):  # of the first; the other is not whole
        (
            tmp_path / "hub" / "models--FacebookAI--roberta-base" / "snapshots" / ("0" * 40) / file
        ).touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", None)
    monkeypatch.setattr("sys.argv", ["doctor", "--outputs", str(tmp_path / "new" / "outputs")])
    with pytest.raises(SystemExit) as end:
        doctor.main()
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert f"{tmp_path / 'hub'}: roberta-base " in said
    assert all(word in said for word in ("torch 2", "writable", "precision=auto", "launchers"))
    assert not (tmp_path / "new").exists()


def test_outputs_that_cannot_be_written_are_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["doctor", "--outputs", str(tmp_path / "file" / "outputs")])
    with pytest.raises(SystemExit) as end:
        doctor.main()
    assert end.value.code == 1
    assert "cannot be written" in capsys.readouterr().out


def test_outputs_that_are_a_link_to_nowhere_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["doctor", "--outputs", str(tmp_path / "link"), "--json"])
    with pytest.raises(SystemExit, match="1"):
        doctor.main()
    assert "nowhere: cannot be written" in capsys.readouterr().out
