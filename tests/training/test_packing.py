"""The layout of packed batches: where each token is, and which sequences attend together."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from sequences import LENGTHS, true_tokens
from sparsead.training.packing import build_packing


def test_sequences_of_like_length_share_a_bucket() -> None:
    layout = build_packing(true_tokens(LENGTHS), round_to=256, round_lengths_to=16)
    assert [tuple(bucket.places.shape) for bucket in layout.buckets] == [(4, 16), (2, 48), (2, 80)]
    assert all(bucket.mask is not None for bucket in layout.buckets)
    assert layout.total == 256
    assert build_packing(true_tokens([32, 32])).buckets[0].mask is None
    few = build_packing(true_tokens([9, 10, 10, 10, 30]), most_pairs=300)
    assert [tuple(bucket.places.shape) for bucket in few.buckets] == [(3, 10), (1, 10), (1, 30)]
    rounded = build_packing(true_tokens([9, 10, 10]), round_lengths_to=16, most_pairs=600)
    assert [tuple(bucket.places.shape) for bucket in rounded.buckets] == [(2, 16), (1, 16)]


@given(
    st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1),
    st.sampled_from([1, 40, math.inf]),
)
def test_every_true_token_is_packed_once_and_found_again(
    rows: list[list[bool]], most_pairs: float
) -> None:
    layout = build_packing(torch.tensor(rows), most_pairs=most_pairs)
    packed = torch.arange(layout.true.numel()).view(layout.true.shape)[layout.true]
    assert torch.equal(packed[layout.unpacked][layout.true], packed)
    for heads in (1, 3):
        of_heads = layout.rows(heads)
        assert torch.equal(of_heads.places[of_heads.inverse], torch.arange(layout.total * heads))
        both = torch.cat([of_heads.inverse, of_heads.padding])
        assert torch.equal(both.sort().values, torch.arange(len(of_heads.places)))


def test_a_packing_moves_whole_and_lays_out_its_rows_where_it_is() -> None:
    layout = build_packing(true_tokens(LENGTHS))
    layout.rows(2)
    moved = layout.to("meta")
    rows = moved.rows(2)
    tensors = [vars(part) for part in (moved, *moved.buckets, rows)]
    devices = {
        value.device.type for part in tensors for value in part.values() if torch.is_tensor(value)
    }
    assert devices == {"meta"}
    assert rows.places.shape == layout.rows(2).places.shape
