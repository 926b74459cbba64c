from __future__ import annotations

import errno
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetBuilder

from hub_files import RTE, data_files, glue_files, parquet, rte_rows
from sparsead.errors import SourceError
from sparsead.hub import arriving
from sparsead.hub.commits import forget_commits
from sparsead.hub.reach import check_reachable, is_cached
from sparsead.hub.rows import load_rows
from sparsead.hub.sources import data_source
from sparsead.progress import Stage
from stand_in_hub import Failure, StandInHub

SOURCE = data_source("rte", "glue", RTE, "rte", None)
TWO = data_files({name: {"train": rte_rows(2, word=name)} for name in ("one", "two")})


def test_the_rows_come_once(hub: StandInHub) -> None:
    hub.commit("datasets", RTE, glue_files())
    first = load_rows(SOURCE)
    assert list(first) == ["train", "validation", "test"]
    assert first["train"].to_list() == rte_rows()
    assert is_cached(SOURCE)
    asked = len(hub.requests)
    assert load_rows(SOURCE)["train"].to_list() == rte_rows()
    assert len(hub.requests) == asked


def test_it_is_said_how_many_of_the_bytes_of_the_rows_have_come(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files of the configuration alone, whatever else the repository has."""
    files = data_files({name: {"train": rte_rows(400, word=name)} for name in ("one", "two")})
    hub.commit("datasets", "owner/two", files)
    content = files["one/train-00000-of-00001.parquet"]
    shown: set[tuple[int, int | None]] = set()
    read = DatasetBuilder.as_dataset

    def read_once_all_is_shown(builder: DatasetBuilder) -> Any:
        """Read the files only after the watcher has counted them, however busy the machine is."""
        deadline = time.monotonic() + 30
        while (len(content), len(content)) not in shown and time.monotonic() < deadline:
            time.sleep(0.01)
        return read(builder)

    monkeypatch.setattr(arriving, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Stage, "show", lambda _, *counts: shown.add(counts))
    monkeypatch.setattr(DatasetBuilder, "as_dataset", read_once_all_is_shown)
    load_rows(data_source("x", "text", "owner/two", "one", None))
    assert {total for _, total in shown} == {len(content)}
    assert max(done for done, _ in shown) == len(content)


def test_each_commit_has_its_own_rows(hub: StandInHub) -> None:
    old = hub.commit("datasets", RTE, glue_files("cat"))
    assert load_rows(SOURCE)["train"][0]["sentence2"] == "A cat."
    new = hub.commit("datasets", RTE, glue_files("dog"))
    forget_commits()
    assert load_rows(SOURCE)["train"][0]["sentence2"] == "A dog."
    for commit, word in ((old, "cat"), (new, "dog")):
        pinned = data_source("rte", "glue", RTE, "rte", commit)
        assert load_rows(pinned)["train"][0]["sentence2"] == f"A {word}."


@pytest.mark.parametrize(
    "failure", [Failure(403, "GatedRepo"), Failure(429), Failure(500), Failure(401, "RepoNotFound")]
)
def test_cached_rows_are_used_and_the_failure_said(
    failure: Failure,
    hub: StandInHub,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    commit = hub.commit("datasets", RTE, glue_files())
    load_rows(SOURCE)
    capfd.readouterr()
    forget_commits()
    with hub.failing(failure), caplog.at_level(logging.INFO):
        check_reachable([SOURCE])
        assert load_rows(SOURCE)["train"].to_list() == rte_rows()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"({failure.status})" in said[0]
    assert f"the cache's commit {commit} is used" in said[0]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("failure", [Failure(403, "GatedRepo"), Failure(500)])
def test_rows_that_are_not_cached_are_refused_in_one_line(
    failure: Failure, hub: StandInHub
) -> None:
    hub.commit("datasets", RTE, glue_files())
    with (
        hub.failing(failure),
        pytest.raises(SourceError, match=rf"{RTE}/rte: .*{failure.status}") as error,
    ):
        load_rows(SOURCE)
    assert len(str(error.value).splitlines()) == 1


def test_another_commit_of_the_cache_is_never_taken_instead(hub: StandInHub) -> None:
    hub.commit("datasets", RTE, glue_files("cat"))
    load_rows(SOURCE)
    hub.commit("datasets", RTE, glue_files("dog"))
    forget_commits()
    with (
        hub.failing(Failure(403, path="README|parquet")),
        pytest.raises(SourceError, match=rf"{RTE}/rte: .*"),
    ):
        load_rows(SOURCE)


def test_a_configuration_has_to_be_one_of_the_data_sets(hub: StandInHub) -> None:
    hub.commit("datasets", "owner/two", TWO)
    for config in (None, "three"):
        with pytest.raises(SourceError, match=r"choose task.hub_config=one, two"):
            load_rows(data_source("x", "text", "owner/two", config, None))
    rows = load_rows(data_source("x", "text", "owner/two", "two", None))
    assert rows["train"].to_list() == rte_rows(2, word="two")


def test_another_configuration_of_the_cache_is_never_taken_instead(hub: StandInHub) -> None:
    hub.commit("datasets", "owner/two", TWO)
    unnamed = data_source("x", "text", "owner/two", None, None)
    load_rows(data_source("x", "text", "owner/two", "two", None))
    assert not is_cached(unnamed)
    with pytest.raises(SourceError, match=r"choose task.hub_config=one, two"):
        load_rows(unnamed)


@pytest.mark.parametrize("config", ["*", "on?", "[o]ne", "../owner___two/one"])
def test_a_configuration_is_no_pattern_of_the_caches_folders(hub: StandInHub, config: str) -> None:
    hub.commit("datasets", "owner/two", TWO)
    load_rows(data_source("x", "text", "owner/two", "one", None))
    assert not is_cached(data_source("x", "text", "owner/two", config, None))


def test_the_default_configuration_is_read_whatever_else_the_cache_has(hub: StandInHub) -> None:
    card = TWO["README.md"].replace(b"name: one\n", b"name: one\n  default: true\n")
    hub.commit("datasets", "owner/two", {**TWO, "README.md": card})
    unnamed = data_source("x", "text", "owner/two", None, None)
    load_rows(data_source("x", "text", "owner/two", "two", None))
    with hub.failing(Failure(500, path="README|parquet")), pytest.raises(SourceError):
        load_rows(unnamed)
    assert load_rows(unnamed)["train"].to_list() == rte_rows(2, word="one")
    asked = len(hub.requests)
    assert load_rows(unnamed)["train"].to_list() == rte_rows(2, word="one")
    assert len(hub.requests) == asked


def test_a_data_set_without_a_card_is_read_too(hub: StandInHub) -> None:
    plain = {"train.parquet": parquet(rte_rows(2)), "validation.parquet": parquet(rte_rows(3))}
    hub.commit("datasets", "owner/plain", plain)
    source = data_source("x", "text", "owner/plain", None, None)
    sizes = [{split: len(rows) for split, rows in load_rows(source).items()} for _ in range(2)]
    assert sizes[0] == sizes[1] == {"train": 2, "validation": 3}


def test_what_is_no_data_is_one_line(hub: StandInHub) -> None:
    hub.commit("datasets", "owner/none", {"README.md": b"# Nothing"})
    hub.commit("datasets", "owner/broken", {"train.parquet": b"PAR1 and no more PAR1"})
    hub.commit("datasets", "owner/script", {"script.py": b"raise RuntimeError"})
    for name in ("none", "broken", "script"):
        with pytest.raises(SourceError, match=rf"owner/{name}: ") as error:
            load_rows(data_source("x", "text", f"owner/{name}", None, None))
        assert len(str(error.value).splitlines()) == 1


def test_a_byte_of_the_rows_that_has_changed_is_noticed(hub: StandInHub, tmp_path: Path) -> None:
    hub.commit("datasets", RTE, glue_files())
    load_rows(SOURCE)
    (arrow,) = (tmp_path / "hf" / "datasets").rglob("glue-train.arrow")
    content = arrow.read_bytes()
    assert b"A cat." in content
    arrow.write_bytes(content.replace(b"A cat.", b"A rat.", 1))
    with pytest.raises(
        SourceError, match=r"damaged \(glue-train.arrow has changed since it came\)"
    ):
        load_rows(SOURCE)
    arrow.with_name("sparsead.json").unlink()  # as where datasets itself has fetched them
    assert len(load_rows(SOURCE)["train"]) == len(rte_rows())
    arrow.write_bytes(content)
    with pytest.raises(SourceError, match=r"glue-train.arrow has changed"):
        load_rows(SOURCE)


def test_a_full_disk_is_one_line(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("datasets", RTE, glue_files())

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    full_disk = r"the disk of the hub's cache is full .*HF_HOME=FOLDER"
    for place in (
        "huggingface_hub.file_download.http_get",
        "datasets.arrow_writer.ArrowWriter.write_table",
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, full)
            with pytest.raises(SourceError, match=full_disk):
                load_rows(SOURCE)
    assert load_rows(SOURCE)["train"].to_list() == rte_rows()


def test_damaged_rows_are_one_line(hub: StandInHub, tmp_path: Path) -> None:
    hub.commit("datasets", RTE, glue_files())
    load_rows(SOURCE)
    (arrow,) = (tmp_path / "hf" / "datasets").rglob("glue-train.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"the rows in the cache are damaged .*; delete /"):
        load_rows(SOURCE)
    info = arrow.with_name("dataset_info.json")
    info.write_text(json.dumps({"splits": 1}))
    with pytest.raises(SourceError, match=r"the rows in the cache are damaged"):
        load_rows(SOURCE)
