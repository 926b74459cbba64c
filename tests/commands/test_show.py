from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from masked_runs import MASKS, OTHERS, mask, write_run
from sparsead.commands import show
from sparsead.errors import RecordError
from sparsead.pruning.storage import WEIGHTS_FILE
from sparsead.runs.record import RESULT_FILE


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    write_run(tmp_path, "minilm_mrpc_houlsby_snip_0.4_seed3_00c0ffee00c0ffee", MASKS)
    write_run(tmp_path, "minilm_mrpc_houlsby_random_0.4_seed3_badc0de4badc0de4", OTHERS)
    return tmp_path


def shown(
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> str:
    monkeypatch.setattr("sys.argv", ["sparsead show", *arguments, "--outputs", str(outputs)])
    show.main()
    return str(capsys.readouterr().out)


def test_a_run_is_shown(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(outputs, monkeypatch, capsys, "00c0ffee00c0ffee")
    assert "mrpc · minilm · houlsby r=2 · snip at sparsity 0.4 · seed 3" in text
    assert "accuracy 81.62 · f1 90.00" in text
    assert "22 of 48 weights kept (45.83 %), 26 removed" in text
    layer = next(line for line in text.splitlines() if line.startswith("│ 1"))
    assert [cell.strip() for cell in layer.split("│")[2:-1]] == ["–", "–", "25.0", "50.0", "37.5"]
    assert "3 of 6 bottleneck units are dead: 2 without input, 2 without output" in text


def test_a_run_is_compared_with_another(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(outputs, monkeypatch, capsys, "snip", "--against", "random")
    every = next(line for line in text.splitlines() if "│ all" in line and "│ 16 " in line)
    cells = [cell.strip() for cell in every.split("│")[3:-1]]
    assert cells == ["16", "11", "6", "3", "4", "0.857", "0.214", "0.259"]


def test_records_without_weights_are_compared_but_for_their_masks(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for weights in outputs.rglob(WEIGHTS_FILE):
        weights.unlink()
    text = shown(outputs, monkeypatch, capsys, "snip", "--against", "random")
    assert text.startswith("key")
    assert "The masks are not compared: " in text
    with pytest.raises(RecordError, match="has no weights, as a record of an archive"):
        shown(outputs, monkeypatch, capsys, "snip")


def test_what_differs_between_two_runs_is_shown_first(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(outputs, monkeypatch, capsys, "snip", "--against", "random")
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["key", "run", "against"]
    assert ["pruner.name", "snip", "random"] in lines
    assert not any(line[:1] == ["backbone.name"] for line in lines)
    write_run(outputs, "full", {})
    text = shown(outputs, monkeypatch, capsys, "full", "--against", "random")
    assert "pruner.name" in text
    assert "weights kept" not in text


def test_other_data_and_the_last_digits_of_a_score_are_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"examples": 8, "counts": {}}
    for name, digest, score in (("one", 64 * "a", 0.865212), ("two", 64 * "b", 0.865238)):
        data = {"train": rows | {"sha256": digest}}
        write_run(tmp_path, name, {}, data=data, scores={"accuracy": score})
    text = shown(tmp_path, monkeypatch, capsys, "one", "--against", "two")
    lines = [line.split() for line in text.splitlines()]
    assert ["data.train.sha256", 64 * "a", 64 * "b"] in lines
    assert ["score.accuracy", "86.5212", "86.5238"] in lines


def test_a_run_without_masks_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "full", {})
    assert "no masks" in shown(tmp_path, monkeypatch, capsys, "full")


def test_no_dead_unit_is_said_without_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "dense", {name: found | True for name, found in MASKS.items()})
    assert "0 of 6 bottleneck units are dead\n" in shown(tmp_path, monkeypatch, capsys, "dense")


def test_of_runs_without_common_masks_it_is_shown_what_differs_all_the_same(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(outputs, "other", {"elsewhere.down.weight": mask("xxx")})
    text = shown(outputs, monkeypatch, capsys, "other", "--against", "random")
    assert ["pruner.name", "snip", "random"] in [line.split() for line in text.splitlines()]
    assert "3 of 3 weights kept" in text
    assert "no pruned tensor of one run has the name and shape of one of the other" in text


def test_a_damaged_run_is_refused_in_one_line(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(outputs, "damaged", MASKS, scores=[])
    with pytest.raises(RecordError, match=r"result\.json: is not the result of a run"):
        shown(outputs, monkeypatch, capsys, "damaged")
    (folder / RESULT_FILE).write_text("{}")
    with pytest.raises(
        RecordError, match=r"result\.json: is not the result of a run \(no 'scores'\)"
    ):
        shown(outputs, monkeypatch, capsys, "damaged")
    folder = write_run(outputs, "broken", MASKS)
    (folder / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(RecordError, match=r"adapter\.safetensors: is not a readable"):
        shown(outputs, monkeypatch, capsys, "broken")


def test_the_weights_of_another_run_are_refused(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, other = sorted((outputs / "runs").iterdir())
    (folder / WEIGHTS_FILE).write_bytes((other / WEIGHTS_FILE).read_bytes())
    with pytest.raises(RecordError, match="holds the weights of another run, 00c0ffee00c0ffee"):
        shown(outputs, monkeypatch, capsys, "random")


def test_neither_torch_nor_matplotlib_is_imported(outputs: Path) -> None:
    code = (
        "import sys; from sparsead.commands import figure, show; show.main();"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    arguments = ["snip", "--against", "random", "--outputs", str(outputs)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
