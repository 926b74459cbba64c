from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from composing import ask_for, compose
from crafted_pickles import CRAFTED, write_crafted
from hub_files import BERT, bart_files, deberta_files, model_files, pickled_files
from sparsead.backbones.folders import own_folder
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.backbones.tensor_files import read_pickled
from sparsead.errors import SourceError
from sparsead.hub.commits import forget_commits
from sparsead.runs.identity import compute_identity
from sparsead.train import train
from stand_in_hub import StandInHub

TITLE = "Adding `safetensors` variant of this model"


def load(*overrides: str) -> Backbone:
    return load_backbone(compose("backbone=bert-base", *overrides).backbone)


def weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    model = backbone.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    return model.state_dict()


def assert_same(one: Backbone, other: Backbone) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_pickled_weights_of_the_hub_are_converted_once(
    hub: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    safe = hub.commit("models", BERT, model_files(), "safe")
    hub.commit("models", BERT, pickled_files())
    with caplog.at_level(logging.INFO):
        converted = load()
        again = load()
    said = [r.getMessage() for r in caplog.records if "read as tensors alone" in r.getMessage()]
    assert said == [f"{BERT}: has no safetensors; its pickled weights are read as tensors alone, "
                    "and converted"]  # fmt: skip
    assert converted.folder == again.folder
    assert list(converted.fingerprint()) == ["model.safetensors"]
    assert_same(converted, load(f"backbone.revision={safe}"))


@pytest.mark.slow
def test_weights_in_parts_are_put_together(hub: StandInHub) -> None:
    safe = hub.commit("models", BERT, model_files(), "safe")
    whole = torch.load(io.BytesIO(pickled_files()["pytorch_model.bin"]), weights_only=True)
    parts: dict[str, dict[str, torch.Tensor]] = {
        "pytorch_model-1.bin": {},
        "pytorch_model-2.bin": {},
    }
    place = {name: list(parts)[number % 2] for number, name in enumerate(whole)}
    for name, tensor in whole.items():
        parts[place[name]][name] = tensor
    files = {name: data for name, data in model_files().items() if name != "model.safetensors"}
    files["pytorch_model.bin.index.json"] = json.dumps({"weight_map": place}).encode()
    for name, tensors in parts.items():
        stream = io.BytesIO()
        torch.save(tensors, stream)
        files[name] = stream.getvalue()
    hub.commit("models", BERT, files)
    assert_same(load(), load(f"backbone.revision={safe}"))
    outside = {"weight_map": {"a": "../../../etc/passwd"}}
    hub.commit(
        "models", BERT, files | {"pytorch_model.bin.index.json": json.dumps(outside).encode()}, "x"
    )
    with pytest.raises(SourceError, match=r"which is not beside it"):
        load("backbone.revision=x")


def test_the_hubs_conversion_comes_before_the_pickled_weights(
    hub: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.commit("models", BERT, pickled_files())
    branch = hub.open_pull(BERT, model_files(), "SFconvertbot", TITLE)
    with caplog.at_level(logging.INFO):
        found = load()
    assert f"safetensors of {branch}, commit {hub.branches['models', BERT][branch]}" in caplog.text
    assert_same(found, load(f"backbone.safetensors_revision={branch}"))
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    hub.commit("models", BERT, pickled_files(), "also-pickled")
    with pytest.raises(SourceError, match=r"safetensors_revision=also-pickled has no safetensors"):
        load("backbone.safetensors_revision=also-pickled")


class Dangerous:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.file), "w"))


def test_nothing_but_tensors_is_unpickled(hub: StandInHub, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for content in (Dangerous(ran), {"a": Dangerous(ran)}, [1, 2], {"a": 1}):
        stream = io.BytesIO()
        torch.save(content, stream)
        hub.commit("models", BERT, {**pickled_files(), "pytorch_model.bin": stream.getvalue()}, "x")
        forget_commits()
        with pytest.raises(SourceError, match=r"pytorch_model.bin: .*(tensors|unpickled)") as error:
            load("backbone.revision=x")
        assert len(str(error.value).splitlines()) == 1
    assert not ran.exists()
    hub.commit("models", BERT, {**pickled_files(), "pytorch_model.bin": b"cut off"}, "y")
    with pytest.raises(SourceError, match=r"cannot be read as weights"):
        load("backbone.revision=y")


def test_a_model_without_any_weights_is_refused(hub: StandInHub) -> None:
    files = {name: data for name, data in model_files().items() if name != "model.safetensors"}
    hub.commit("models", BERT, {**files, "tf_model.h5": b""})
    with pytest.raises(SourceError, match=r"has neither safetensors nor a pytorch_model.bin"):
        load()


def test_converted_weights_that_were_altered_are_converted_anew(hub: StandInHub) -> None:
    hub.commit("models", BERT, pickled_files())
    converted = load()
    assert converted.folder is not None
    before = converted.fingerprint()
    file = converted.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert load().fingerprint() == before


LAYOUTS = {
    "bart-large": ("facebook/bart-large", bart_files, "demo_xsum"),
    "deberta-v3-base": ("microsoft/deberta-v3-base", deberta_files, "demo_mrpc"),
}
SHORT = ("task.generation.num_beams=1", "task.generation.max_new_tokens=4")


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_repository_in_its_real_layout_trains(name: str, hub: StandInHub, tmp_path: Path) -> None:
    repository, files, task = LAYOUTS[name]
    commit = hub.commit("models", repository, files())
    words = ("task.limit=4", "task.max_length=64", "protocol.epochs=1", "device=cpu")
    given = (f"backbone={name}", f"task={task}", f"outputs={tmp_path}", *words)
    record = train(ask_for(*given, *(SHORT if name == "bart-large" else ())))
    assert record.result["sources"]["backbone"]["commit"] == commit
    assert list(record.result["sources"]["backbone"]["files"]) == ["model.safetensors"]
    assert not any("generator" in request for request in hub.requests)


def put(folder: Path, files: Mapping[str, bytes]) -> str:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return f"backbone.path={folder}"


def test_pickled_weights_of_a_folder_are_converted_too(tmp_path: Path) -> None:
    pickled, safe = (
        load("backbone=folder", put(tmp_path / name, files))
        for name, files in (("pickled", pickled_files()), ("safe", model_files()))
    )
    assert_same(pickled, safe)
    assert not list((tmp_path / "pickled").glob("*.safetensors"))


def test_pickled_weights_count_in_the_identity_where_they_are_read(tmp_path: Path) -> None:
    files = dict(pickled_files())
    overrides = ("backbone=folder", put(tmp_path / "model", files))
    weights_file = tmp_path / "model" / "pytorch_model.bin"

    def identities() -> set[str]:
        found = set()
        for content in (files["pytorch_model.bin"], b"other"):
            weights_file.write_bytes(content)
            found.add(compute_identity(compose(*overrides)))
        return found

    assert len(identities()) == 2
    (tmp_path / "model" / "model.safetensors").write_bytes(b"read in its place")
    assert len(identities()) == 1


def test_nothing_but_tensors_of_a_folder_is_unpickled(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"a": Dangerous(tmp_path / "ran")}, stream)
    given = put(tmp_path / "model", {**pickled_files(), "pytorch_model.bin": stream.getvalue()})
    with pytest.raises(SourceError, match=r"pytorch_model.bin: .*is not unpickled"):
        load("backbone=folder", given)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_pickle_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    put(tmp_path / "model", pickled_files())
    file = tmp_path / "model" / "pytorch_model.bin"
    write_crafted(kind, file)
    with pytest.raises(SourceError, match=r"model\.bin: cannot be read as weights; it") as raised:
        own_folder(tmp_path / "model")
    assert "\n" not in str(raised.value)


def test_tied_weights_are_read_under_each_of_their_names(tmp_path: Path) -> None:
    one = torch.arange(1000.0)
    file = tmp_path / "tied.bin"
    torch.save(dict.fromkeys("abcd", one) | {"part": one[::2]}, file)
    read = read_pickled(file)
    assert all(torch.equal(read[name], one) for name in "abcd")
    assert torch.equal(read["part"], one[::2])
