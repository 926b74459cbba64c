from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sparsead.commands import figure
from sparsead.errors import RecordError
from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.report import masks_figure
from sparsead.report.mask_structure import build_density_grid
from sparsead.report.masks import load_masks
from sparsead.report.masks_figure import draw_masks
from sparsead.runs.record import RESULT_FILE, RunRecord
from synthetic import plain_result

PNG = b"\x89PNG\r\n\x1a\n"


def run(folder: Path, layers: int = 3, masked: bool = True) -> RunRecord:
    generator = np.random.default_rng(0)
    names = [
        f"model.{stack}.layers.{layer}.{site}.adapter.{side}.weight"
        for stack, sites in (("encoder", ["fc2"]), ("decoder", ["encoder_attn.out_proj", "fc2"]))
        for layer in range(layers)
        for site in sites
        for side in ("down", "up")
    ]
    masks = {name: generator.random((4, 8)) < (i + 1) / 20 for i, name in enumerate(names)}
    tensors = {name: mask.astype(np.float32) for name, mask in masks.items()}
    result = plain_result()
    folder.mkdir(parents=True)
    metadata = {"identity": result["identity"]}
    save_sparse(folder / WEIGHTS_FILE, tensors, masks if masked else {}, metadata)
    (folder / RESULT_FILE).write_text(json.dumps(result), "utf-8")
    return RunRecord.read(folder)


@pytest.mark.slow
def test_the_heat_map_shows_the_densities(tmp_path: Path) -> None:
    import matplotlib.image

    path = tmp_path / "figures" / "masks.png"
    draw_masks(run(tmp_path / "run"), path)
    assert path.read_bytes().startswith(PNG)
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


@pytest.mark.slow
def test_the_vector_form_says_the_numbers_and_is_the_same_each_time(tmp_path: Path) -> None:
    record = run(tmp_path / "run")
    draw_masks(record, tmp_path / "one.svg")
    draw_masks(record, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text("utf-8")
    assert text == (tmp_path / "two.svg").read_text("utf-8")
    for words in ("encoder 2", "decoder 0", "cross_attention_output", "density"):
        assert f"<!-- {words}" in text, words
    densities = build_density_grid(load_masks(record)).density
    written = Counter(re.findall(r"<!-- (\d\.\d{3}) -->", text))
    assert written == Counter(f"{share:.3f}" for share in densities.flat if not np.isnan(share))


def test_each_number_is_easy_to_read_on_its_colour() -> None:
    """Contrast of at least 4.5, as WCAG 2 asks for text of this size."""
    for density in np.linspace(0, 1, 101):
        luminance = masks_figure.luminance_of(density)
        other = 0.0 if luminance > masks_figure.MIDDLE else 1.0
        low, high = sorted((luminance, other))
        assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("out", "written"),
    [
        (None, "figures/masks_only_run.png"),
        ("there.d", "there.d/masks_only_run.png"),
        ("there.d/own.png", "there.d/own.png"),
    ],
)
def test_it_is_written_below_outputs_or_where_it_is_asked_for(
    out: str | None,
    written: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(tmp_path / "runs" / "only_run")
    (tmp_path / "there.d").mkdir()
    asked = [] if out is None else ["--out", str(tmp_path / out)]
    monkeypatch.setattr("sys.argv", ["figure", "masks", "only", "--outputs", str(tmp_path), *asked])
    figure.main()
    path = tmp_path / written
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes().startswith(PNG)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    record = run(tmp_path / "run")
    with pytest.raises(RecordError, match=r"masks\.txt: must end in \.png or \.svg"):
        draw_masks(record, tmp_path / "masks.txt")
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be written"):
        draw_masks(record, tmp_path / "file" / "masks.png")
    with pytest.raises(RecordError, match="has no masks to draw"):
        draw_masks(run(tmp_path / "full", masked=False), tmp_path / "masks.png")


@pytest.mark.slow
def test_it_is_drawn_without_torch_and_without_a_display(tmp_path: Path) -> None:
    run(tmp_path / "run")
    code = (
        "import sys; from sparsead.commands import figure; assert 'matplotlib' not in sys.modules;"
        "figure.main(); print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    arguments = ["masks", str(tmp_path / "run"), "--out", str(tmp_path / "masks.png")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(tmp_path / "masks.png"), "False False"]
