"""The reader of the program's own files: whole and of the right types, or one line of why."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from sparsead.errors import RecordError
from sparsead.pruning.storage import load_weights
from sparsead.runs.checked import find_checked, find_checksummed, write_checksummed
from sparsead.runs.claim import live_claim
from sparsead.runs.files import file_digest
from sparsead.runs.predictions import read_predictions
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.result import SHARES, PredictionsFile, read_result
from sparsead.tasks import answer_scores, metrics, superglue_questions, text_scores
from synthetic import plain_result


class Counts(TypedDict):
    """Numbers by name."""

    counts: dict[str, int]


WHOLE: Counts = {"counts": {"a": 1, "b": 2}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def set_at(values: Any, keys: list[Any], value: Any) -> None:
    for key in keys[:-1]:
        values = values[key]
    values[keys[-1]] = value


def list_places(value: Any, *above: Any) -> list[list[Any]]:
    items = value.items() if isinstance(value, dict) else ()
    return [
        place for key, item in items for place in ([*above, key], *list_places(item, *above, key))
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a run (it is not JSON"),
        ("{", "is not a run (it is not JSON"),
        ("[]", "the whole=[]: must be a valid dictionary"),
        ("null", "the whole=None: must be a valid dictionary"),
        ("{}", "no 'scores'"),
        ('{"scores": NaN}', "NaN is not a number in JSON"),
        ('{"scores": -1e400}', "-1e400 is larger than any number of the computer"),
        ('{"scores": {"f1": 1e999}}', "1e999 is larger than any number of the computer"),
        ("9" * 5000, "is not a run"),
        ("[" * 100_000, "it is nested too deeply"),
        ("\\ud800", "is not a run"),
    ],
)
def test_what_is_no_result_is_named(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RecordError) as caught:
        read_result(tmp_path / "result.json")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (["scores", "accuracy"], "0.9", "scores.accuracy='0.9': must be a valid number"),
        (["scores", "accuracy"], True, "scores.accuracy=True: must be a valid number"),
        (["scores", "accuracy"], 51.5, "scores.accuracy=51.5: must be between -1 and 1"),
        (["scores", "accuracy"], [0.9], "must be a valid number"),
        (["scores"], {}, "scores={}: "),
        (["scores"], {"\x1b[2J": 0.5}, "is not the name of a metric"),
        (["selection"], {"accuracy": 51.5}, "selection.accuracy=51.5"),
        (["history"], [{"epoch": 1, "scores": {"f1": 2}}], "history.0.scores.f1=2"),
        (["identity"], "../../../etc", "identity='../../../etc'"),
        (["config", "seed"], "1", "config.seed='1': must be a valid integer"),
        (["config", "sparsity"], 1.5, "config.sparsity=1.5"),
        (["config", "adapter", "name"], "../../x", "config.adapter.name=../../x: a name has only"),
        (["config", "task", "name"], ".hidden", "config.task.name=.hidden: a name has only"),
        (
            ["config", "task", "options", "n_best"],
            2**64,
            "config.task.n_best: its whole number has",
        ),
        (["config", "adapter", "options"], None, "config.adapter.options=None"),
        (["sparsity", "realised"], 0.7, "sparsity.realised=0.7: 400000000 of 1000000000"),
        (["sparsity", "requested"], 0.7, "sparsity.requested=0.7: the run has 0.4"),
        (["seconds"], {"train": "long"}, "seconds.train='long': must be a valid number"),
        (["parameters", "nominal"], -1, "parameters.nominal=-1"),
        (["parameters", "nominal"], 1e308, "parameters.nominal=1e+308: must be less than"),
        (["parameters", "backbone"], "x", "parameters.backbone='x'"),
        (["seconds"], {"train": 1e308}, "seconds.train=1e+308: must be less than"),
        (["environment"], {"peak_memory_bytes": "x"}, "environment.peak_memory_bytes='x'"),
        (["scores"], {"accuracy": 0.5, "run": 0.5}, "'run' is a column of every table"),
        (
            ["directions"],
            {"accuracy": "up"},
            "directions.accuracy='up': must be 'higher' or 'lower'",
        ),
        (["directions"], {"f1": "higher"}, "directions=f1: no such choice"),
        (["directions"], {"accuracy": "lower"}, "higher_is_better says that higher is better"),
    ],
)
def test_a_value_that_cannot_be_right_is_named(
    keys: list[Any], value: Any, reason: str, tmp_path: Path
) -> None:
    result = plain_result(higher_is_better=True)
    set_at(result, keys, value)
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(RecordError) as caught:
        read_result(tmp_path / "result.json")
    assert reason in str(caught.value)


@given(st.sampled_from(list_places(plain_result())), JSON)
def test_any_value_anywhere_gives_a_result_or_one_line(keys: list[Any], value: Any) -> None:
    result = plain_result()
    set_at(result, keys, value)
    with TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        file.write_text(json.dumps(result))
        with suppress(RecordError):
            assert read_result(file)["scores"]


@pytest.mark.parametrize("indent", [None, 2])
def test_another_possible_score_is_noticed(indent: int | None, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_result(tmp_path, plain_result(scores={"accuracy": 0.8125}), "")
    assert read_result(file)["scores"] == {"accuracy": 0.8125}
    edited = json.loads(file.read_text().replace("0.8125", "0.8225"))
    file.write_text(json.dumps(edited, indent=indent))
    with pytest.raises(RecordError, match="its checksum does not match"):
        read_result(file)
    del edited["sha256"]  # as in records of earlier versions
    file.write_text(json.dumps(edited))
    assert read_result(file)["scores"] == {"accuracy": 0.8225}


def test_a_users_own_metric_may_have_any_value(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(plain_result(scores={"perplexity": 51.5})))
    assert read_result(tmp_path / "result.json")["scores"] == {"perplexity": 51.5}


def test_every_metric_of_the_project_has_a_range() -> None:
    known = {
        *metrics.CLASS_METRICS,
        *metrics.NUMBER_METRICS,
        *text_scores.ROUGE_METRICS,
        *text_scores.MATCH_METRICS,
        *text_scores.CORPUS_METRICS,
        *answer_scores.ANSWER_METRICS,
        *superglue_questions.MultiRcTask.scored_by,
    }
    assert known == {*SHARES, "mae", "mse"}


def test_a_missing_file_is_nothing_and_a_damaged_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "counts.json"
    assert find_checked(file, Counts) is None
    assert capsys.readouterr().err == ""
    file.write_text('{"counts": {"a": "1"}}')
    assert find_checked(file, Counts) is None
    assert "counts.a='1': must be a valid integer" in capsys.readouterr().err
    file.write_text(json.dumps({**WHOLE, "more": 1}))
    assert find_checked(file, Counts) == {**WHOLE, "more": 1}


@pytest.mark.parametrize("values", [WHOLE, {"counts": {}}])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_altered_byte_is_noticed(
    values: Counts, indent: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cache.json"
    write_checksummed(file, values, indent=indent)
    assert find_checksummed(file, Counts) == values
    assert json.loads(file.read_text()).keys() == {"sha256", "counts"}
    whole = file.read_bytes()
    for at in range(len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert find_checksummed(file, Counts) is None, at
    assert "cache.json: was altered" in capsys.readouterr().err


def test_a_cache_of_another_version_was_not_altered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checksummed(tmp_path / "cache.json", {"counts": {"a": "many"}})
    assert find_checksummed(tmp_path / "cache.json", Counts) is None
    line = capsys.readouterr().err
    assert "is of another version of sparsead (counts.a='many': must be" in line
    assert "it is made anew" in line


def test_an_object_without_keys_is_kept(tmp_path: Path) -> None:
    write_checksummed(tmp_path / "empty.json", {})
    assert find_checksummed(tmp_path / "empty.json", dict) == {}


@pytest.mark.parametrize("name", ["result.json", "adapter.safetensors", "predictions-x.parquet"])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_refused_and_not_read(
    tmp_path: Path, name: str, put: Callable[[Path], object]
) -> None:
    put(tmp_path / name)
    described: PredictionsFile = {"examples": 1, "sha256": 64 * "0"}
    record = RunRecord(tmp_path, plain_result() | {"predictions": {"x": described}})
    read: dict[str, Callable[[], object]] = {
        "result.json": lambda: read_result(tmp_path / name),
        "adapter.safetensors": lambda: load_weights(record),
        "predictions-x.parquet": lambda: read_predictions(record),
    }
    with pytest.raises(RecordError, match="either a file nor a folder") as error:
        read[name]()
    assert "\n" not in str(error.value)
    with pytest.raises(OSError, match="Is neither a file nor a folder"):
        file_digest(tmp_path / name)


def test_a_pipe_in_the_place_of_a_claim_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".claims").mkdir()
    os.mkfifo(tmp_path / ".claims" / "run.1")
    assert live_claim(tmp_path / "run") is not None
    os.utime(tmp_path / ".claims" / "run.1", (1, 1))
    assert live_claim(tmp_path / "run") is None
