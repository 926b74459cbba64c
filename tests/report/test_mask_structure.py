"""The structure of masks: density by position, dead bottleneck units, overlap of two masks."""

from __future__ import annotations

import numpy as np
import pytest

from masked_runs import ATTENTION, FFN, MASKS, OTHERS, SITE, mask
from sparsead.report.mask_structure import (
    Position,
    Units,
    build_density_grid,
    count_dead_units,
    locate,
    measure_overlaps,
    sum_overlaps,
)


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
