"""`sparsead variance` trains a Latin square of seeds, once, and splits the score's variance."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sparsead.commands import variance
from sparsead.errors import ConfigError
from sparsead.runs.index import read_summaries
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from synthetic import synthetic_result, write_record

RUN = ["backbone=tiny-bert", "task=mrpc", "protocol.epochs=1", "device=cpu", "pruner=random"]


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["sparsead variance", *words])
    variance.main()


@pytest.mark.slow
def test_nine_runs_of_three_seeds_give_the_variance_of_each_part(
    tmp_path: Path,
    glue_fixture: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*RUN, f"task.path={glue_fixture}", f"outputs={tmp_path}", "--seeds", "3"]
    called(monkeypatch, *words)
    first = capsys.readouterr().out
    records = list(read_summaries(tmp_path))
    collapsed = sum(record.result["collapsed"] for record in records)
    lost = f"; {collapsed} of them collapsed" if collapsed else ""
    assert f"mean of 9 runs{lost}\n" in first
    assert ("A collapsed run predicts the same" in first) == bool(collapsed)
    for cause in ("order of the data, dropout", "initial weights", "mask", "their interactions"):
        assert cause in first
    runs = list(read_summaries(tmp_path))
    assert len({record.result["identity"] for record in runs}) == 9
    seeds = {tuple(r.result["config"][f"seed_{part}"] for part in ("data", "init")) for r in runs}
    assert len(seeds) == 9
    called(monkeypatch, *words)
    again = capsys.readouterr().out
    assert again == first[first.index("accuracy:") :]
    assert len(list(read_summaries(tmp_path))) == 9
    called(monkeypatch, *words, "--json")
    said = json.loads(capsys.readouterr().out)
    assert {"1-1-3", "2-2-2"} < said["scores"].keys()
    assert said["collapsed"] == collapsed


def test_a_small_p_is_not_printed_as_zero(
    tmp_path: Path,
    glue_fixture: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the initial weights alone, and of rounding, the scores depend: p is tiny, but not zero."""

    def record(request: RunRequest) -> RunRecord:
        seeds = request.spec.seeds
        score = 0.5 + seeds.init / 10 + seeds.data * seeds.mask / 10**5
        scores = {"scores": {"accuracy": score, "f1": score}}
        return RunRecord.read(write_record(tmp_path, synthetic_result(request) | scores))

    monkeypatch.setattr(variance, "train_run", record)
    called(monkeypatch, *RUN, f"task.path={glue_fixture}", f"outputs={tmp_path}", "--seeds", "3")
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "initial weights" in each]
    p = float(line.split("│")[-2])
    assert 0 < p < 1e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=2"], "seed=2: the seeds are chosen here"),
        (["seeds=5"], "seeds=5: the seeds are chosen here; say how many with --seeds N"),
        (["seed_mask=2"], "seed_mask=2: the seeds are chosen here"),
        (["--seeds", "2"], "--seeds 2: must be from 3 to 100"),
        (["--seeds", "100000"], "--seeds 100000: must be from 3 to 100"),
        (["adapter=fusion", "adapter.fusion.tasks=[mrpc]"], "starts from other runs"),
        (["pruner=snp"], "did you mean snip"),
    ],
)
def test_what_cannot_be_split_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        called(monkeypatch, *words)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_failed_runs_are_trained_again_on_request(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[RunRequest] = []

    def fail(request: RunRequest) -> None:
        trained.append(request)
        raise RuntimeError("out of luck")

    monkeypatch.setattr(variance, "train_run", fail)
    words = [*RUN, f"task.path={glue_fixture}", f"outputs={tmp_path}", "--seeds", "3"]
    for given, expected in ((words, 9), (words, 9), ([*words, "--retry-failed"], 18)):
        with pytest.raises(SystemExit):
            called(monkeypatch, *given)
        assert len(trained) == expected


def test_a_missing_tracker_is_told_before_the_first_run(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    words = [*RUN, f"task.path={glue_fixture}", f"outputs={tmp_path / 'outputs'}"]
    with pytest.raises(ConfigError, match=r"tracking=mlflow: .* not installed"):
        called(monkeypatch, *words, "tracking=mlflow")
    assert not (tmp_path / "outputs").exists()
