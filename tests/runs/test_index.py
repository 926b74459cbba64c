from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composing import ask_for
from sparsead.runs.checked import parse_unaltered, write_checksummed
from sparsead.runs.index import INDEX_FILE, read_summaries
from sparsead.runs.record import RunRecord, read_records, write_result
from sparsead.runs.staging import staged
from synthetic import synthetic_result


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    for seed in (1, 2):
        record(folder, seed)
    return folder


def record(outputs: Path, seed: int, **changes: object) -> None:
    request = ask_for(f"outputs={outputs}", f"seed={seed}")
    with staged(request.folder, replace=True) as staging:
        write_result(staging, synthetic_result(request) | changes, "")


def test_a_damaged_index_is_made_anew(outputs: Path) -> None:
    index = outputs / INDEX_FILE
    expected = [one.result for one in read_summaries(outputs)]
    whole = index.read_bytes()

    @given(st.integers(0, len(whole) - 1), st.binary(max_size=3), st.booleans())
    def damage(at: int, noise: bytes, cut: bool) -> None:
        index.write_bytes(whole[:at] + noise + (b"" if cut else whole[at + 1 :]))
        assert [one.result for one in read_summaries(outputs)] == expected

    damage()
    index.unlink()
    assert [one.result for one in read_summaries(outputs)] == expected
    assert index.read_bytes() == whole


def test_the_index_follows_the_records(tmp_path: Path) -> None:
    record(tmp_path, 1)
    assert read_summaries(tmp_path)[0].result["scores"]["f1"] > 0
    record(tmp_path, 1, scores={"f1": 0.25})
    assert read_summaries(tmp_path)[0].main_score == 0.25
    folder = read_summaries(tmp_path)[0].folder
    write_result(folder, RunRecord.read(folder).result | {"scores": {"f1": 0.75}}, "")
    record(tmp_path, 2)
    assert 0.75 in [one.main_score for one in read_summaries(tmp_path)]
    assert len(read_summaries(tmp_path)) == 2
    for path in folder.iterdir():
        path.unlink()
    assert len(read_summaries(tmp_path)) == 1


def test_a_record_that_cannot_be_looked_at_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 1)
    other = tmp_path / "runs" / "of_another_user"
    other.mkdir()
    (other / "result.json").symlink_to(other / "result.json")
    assert len(read_summaries(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsead: {other}: cannot be read (")
    assert said.endswith("; it is left out\n")


def test_a_link_in_the_place_of_a_record_that_leads_nowhere_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, 1)
    loop = tmp_path / "runs" / "loop"
    loop.symlink_to("loop")
    assert len(read_summaries(tmp_path)) == 1
    assert len(list(read_records(tmp_path))) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsead: {loop}: cannot be read (")
    assert said.endswith("; it is left out\n")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["setting"], 99),
        (["setting"], -1),
        (["result"], "x"),
        (["result"], {}),
        (["result", "setting"], []),
        (["result", "scores"], {"accuracy": "0.9"}),
        (["result", "seconds"], None),
        (["seeds"], {"seed": "x"}),
        (["seeds"], {}),
        (["stamp"], "x"),
    ],
)
def test_an_index_with_other_values_is_made_anew_whatever_its_checksum(
    tmp_path: Path, keys: list[str], value: object
) -> None:
    record(tmp_path, 1)
    expected = [one.result for one in read_summaries(tmp_path)]
    content: Any = parse_unaltered(tmp_path / INDEX_FILE)
    part = next(iter(content["runs"].values()))
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    write_checksummed(tmp_path / INDEX_FILE, content)
    assert [one.result for one in read_summaries(tmp_path)] == expected
    content = parse_unaltered(tmp_path / INDEX_FILE)
    content["settings"][0]["adapter"]["options"]["bottleneck"] = []
    write_checksummed(tmp_path / INDEX_FILE, content)
    assert [one.result for one in read_summaries(tmp_path)] == expected
