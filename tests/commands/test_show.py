from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsead.commands import show
from sparsead.errors import RecordError
from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.report.mask_structure import (
    Position,
    Units,
    build_density_grid,
    count_dead_units,
    locate,
    measure_overlaps,
    sum_overlaps,
)
from sparsead.runs.query import find_run
from sparsead.runs.record import RESULT_FILE, staged, write_result

SITE = "bert.encoder.layer.{}.{}.adapter.{}.weight"
FFN = "output.dropout"
ATTENTION = "attention.output.dropout"


def mask(*rows: str) -> np.ndarray:
    """Read a mask off a drawing: x is kept."""
    return np.array([[weight == "x" for weight in row] for row in rows])


MASKS = {
    SITE.format(0, ATTENTION, "down"): mask("xxx.", "...."),
    SITE.format(0, ATTENTION, "up"): mask("x.", "x.", "x.", "x."),
    SITE.format(0, FFN, "down"): mask("xxxx", "xxxx"),
    SITE.format(0, FFN, "up"): mask("x.", "..", "..", ".."),
    SITE.format(1, FFN, "down"): mask("....", "xx.."),
    SITE.format(1, FFN, "up"): mask("x.", "x.", ".x", ".x"),
}
OTHERS = {
    SITE.format(0, ATTENTION, "down"): mask("x..x", "x..x"),
    SITE.format(0, FFN, "down"): mask("xx..", "...."),
    SITE.format(0, FFN, "up"): mask("xx"),
    "elsewhere.down.weight": mask("xx"),
}


def run(outputs: Path, name: str, masks: dict[str, np.ndarray], **changes: object) -> Path:
    config = {
        "task": {"name": "mrpc"},
        "backbone": {"name": "minilm"},
        "adapter": {"name": "houlsby", "options": {"bottleneck": 2}},
        "pruner": {"name": "snip"},
        "seed": 3,
    }
    sparsity = {"requested": 0.4}
    result = {"config": config, "scores": {"accuracy": 0.8162, "f1": 0.9}, "sparsity": sparsity}
    tensors = {tensor: kept.astype(np.float32) for tensor, kept in masks.items()}
    with staged(outputs / "runs" / name) as staging:
        save_sparse(staging / WEIGHTS_FILE, tensors, masks, {})
        write_result(staging, result | changes, "")
    return outputs / "runs" / name


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    run(tmp_path, "minilm_mrpc_houlsby_snip_0.4_seed3_00c0ffee00c0ffee", MASKS)
    run(tmp_path, "minilm_mrpc_houlsby_random_0.4_seed3_badc0de4badc0de4", OTHERS)
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SITE.format(3, ATTENTION, "down"), Position("encoder", 3, "attention_output", "down")),
        (SITE.format(11, FFN, "up"), Position("encoder", 11, "ffn_output", "up")),
        (
            "model.decoder.layers.1.encoder_attn.out_proj.adapter.up.weight",
            Position("decoder", 1, "cross_attention_output", "up"),
        ),
        (
            "model.encoder.layers.0.fc2.adapter.down.weight",
            Position("encoder", 0, "ffn_output", "down"),
        ),
        (
            "bert.encoder.layer.2.attention.self.query.adapter.lora_A.weight",
            Position("encoder", 2, "query", "lora_A"),
        ),
        (
            "model.decoder.layers.0.encoder_attn.v_proj.adapter.lora_B.weight",
            Position("decoder", 0, "cross_value", "lora_B"),
        ),
        (
            "mpnet.encoder.layer.1.attention.dropout.adapter.up.weight",
            Position("encoder", 1, "attention_output", "up"),
        ),
        (
            "mpnet.encoder.layer.0.attention.attn.q.adapter.lora_A.weight",
            Position("encoder", 0, "query", "lora_A"),
        ),
        (
            "model.layers.5.attn.out_drop.adapter.up.weight",
            Position("", 5, "attention_output", "up"),
        ),
        ("model.layers.5.mlp.Wo.adapter.down.weight", Position("", 5, "ffn_output", "down")),
        ("h.7.mlp.c_proj.adapter.up.weight", Position("", 7, "mlp.c_proj", "up")),
        ("prefix.key", Position("", None, "prefix", "key")),
        ("0.weight", Position("", None, "", "0")),
    ],
)
def test_a_name_says_where_a_tensor_is(name: str, expected: Position) -> None:
    assert locate(name) == expected


def test_density_by_layer_site_and_side() -> None:
    grid = build_density_grid(MASKS)
    assert grid.rows == ["0", "1"]
    assert grid.columns == [
        "attention_output down",
        "attention_output up",
        "ffn_output down",
        "ffn_output up",
    ]
    expected = [[3 / 8, 4 / 8, 1, 1 / 8], [np.nan, np.nan, 2 / 8, 4 / 8]]
    np.testing.assert_array_equal(grid.density, expected)
    totals = grid.with_totals()
    np.testing.assert_array_equal(totals.kept[:, -1], [16, 6, 22])
    np.testing.assert_array_equal(totals.total[-1], [8, 8, 16, 16, 48])


def test_encoder_and_decoder_are_told_apart_and_tensors_of_one_place_summed() -> None:
    names = ("model.decoder.layers.0.fc2.a.up", "model.encoder.layers.10.fc2.a.up")
    masks = dict.fromkeys(names, mask("x."))
    masks["model.encoder.layers.2.fc2.a.up"] = mask("xx")
    masks["model.encoder.layers.2.fc2.a.up.weight"] = mask("..")
    grid = build_density_grid(masks)
    assert grid.rows == ["encoder 2", "encoder 10", "decoder 0"]
    np.testing.assert_array_equal(grid.total, [[4], [2], [2]])
    np.testing.assert_array_equal(grid.density, [[0.5], [0.5], [0.5]])


def test_a_unit_is_dead_without_its_row_of_down_or_its_column_of_up() -> None:
    adapters = ("attention.output.dropout", "output.dropout")
    first, second = (f"bert.encoder.layer.0.{adapter}.adapter" for adapter in adapters)
    assert count_dead_units(MASKS) == {
        first: Units(units=2, no_input=1, no_output=1, dead=1),
        second: Units(units=2, no_input=0, no_output=1, dead=1),
        "bert.encoder.layer.1.output.dropout.adapter": Units(2, 1, 0, 1),
    }


def test_units_are_counted_where_only_one_side_is_masked() -> None:
    masks = {
        "q.lora_A.weight": mask("..", "x."),
        "v.up.weight": mask("x..", "x.."),
        "p.key": mask(".."),
    }
    assert count_dead_units(masks) == {"v": Units(3, 0, 2, 2), "q": Units(2, 1, 0, 1)}


def test_overlap_by_hand() -> None:
    found = measure_overlaps(MASKS, OTHERS)
    assert list(found) == [SITE.format(0, ATTENTION, "down"), SITE.format(0, FFN, "down")]
    one, two = found.values()
    assert (one.size, one.kept, one.other_kept, one.shared) == (8, 3, 4, 1)
    assert one.expected == 3 * 4 / 8
    assert one.over_chance == pytest.approx(1 / 1.5)
    assert one.jaccard == pytest.approx(1 / 6)
    assert one.chance_jaccard == pytest.approx(1.5 / 5.5)
    assert (two.shared, two.expected, two.over_chance) == (2, 2.0, 1.0)
    every = sum_overlaps(found.values())
    assert (every.size, every.kept, every.other_kept, every.shared) == (16, 11, 6, 3)
    assert every.expected == 3.5


def test_overlap_of_independent_masks_is_chance_and_with_itself_is_whole() -> None:
    one, two = np.random.default_rng(0).random((2, 200, 200)) < 0.4
    (chance,) = measure_overlaps({"w": one}, {"w": two}).values()
    assert chance.over_chance == pytest.approx(1, abs=0.03)
    assert chance.jaccard == pytest.approx(chance.chance_jaccard, abs=0.01)
    (same,) = measure_overlaps({"w": one}, {"w": one}).values()
    assert same.jaccard == 1
    (empty,) = measure_overlaps({"w": one & ~one}, {"w": one & ~one}).values()
    assert np.isnan([empty.over_chance, empty.jaccard]).all()


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


def test_a_run_without_masks_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "full", {})
    assert "no masks" in shown(tmp_path, monkeypatch, capsys, "full")


def test_no_dead_unit_is_said_without_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "dense", {name: found | True for name, found in MASKS.items()})
    assert "0 of 6 bottleneck units are dead\n" in shown(tmp_path, monkeypatch, capsys, "dense")


def test_a_run_is_found_by_folder_name_and_part(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = outputs / "runs" / "minilm_mrpc_houlsby_snip_0.4_seed3_00c0ffee00c0ffee"
    for named in (str(folder), folder.name, "00c0ffee00c0ffee", "_snip_"):
        assert find_run(named, outputs).folder == folder
    monkeypatch.chdir(folder)
    assert find_run(".", outputs).folder == Path(".")
    run(outputs, "snip", MASKS)
    assert find_run("snip", outputs).folder.name == "snip"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("minilm", ["2 runs", "_snip_", "_random_"]),
        (
            "00c0ffee00c0ffef",
            ["is neither the folder of a run", "did you mean minilm_mrpc_houlsby_snip_0.4"],
        ),
        ("minilm_mrpc_houlsby_snap_0.4_seed3", ["did you mean minilm_mrpc_houlsby_snip_0.4"]),
        ("zzz", ["zzz: is neither the folder of a run nor part of the name of one"]),
    ],
)
def test_an_unknown_or_ambiguous_run_is_refused(
    outputs: Path, named: str, words: list[str]
) -> None:
    with pytest.raises(RecordError) as caught:
        find_run(named, outputs)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_many_matches_are_not_all_listed(tmp_path: Path) -> None:
    for seed in range(8):
        run(tmp_path, f"run_{seed}", {})
    with pytest.raises(RecordError, match=r"8 runs \(run_0, .*, run_4, …\)"):
        find_run("run", tmp_path)


def test_runs_with_nothing_in_common_are_refused(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(outputs, "other", {"elsewhere.down.weight": mask("xxx")})
    with pytest.raises(RecordError, match=r"other and .*: have no masked tensor of the same name"):
        shown(outputs, monkeypatch, capsys, "other", "--against", "random")


def test_a_damaged_run_is_refused_in_one_line(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(outputs, "damaged", MASKS, scores=[])
    with pytest.raises(RecordError, match=r"result\.json: is not the result of a run"):
        shown(outputs, monkeypatch, capsys, "damaged")
    (folder / RESULT_FILE).write_text("{}")
    with pytest.raises(
        RecordError, match=r"result\.json: is not the result of a run \(no 'scores'\)"
    ):
        shown(outputs, monkeypatch, capsys, "damaged")
    (folder / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(RecordError, match=r"adapter\.safetensors: is no readable"):
        shown(outputs, monkeypatch, capsys, "damaged")


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
