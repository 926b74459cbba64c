from __future__ import annotations

import base64
import hashlib
import json
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save_file

from sparsead.errors import RecordError
from sparsead.pruning.storage import FORMAT, load_sparse, save_sparse, sparse_size

DTYPES = ("float32", "float16", "float64", "int8", "int64", "uint16", "bool")
Arrays = dict[str, np.ndarray]

METADATA = {"identity": "00c0ffee00c0ffee", "config": {"seed": 1, "rate": 1e-4, "é": [None, True]}}


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


@st.composite
def adapters(draw: st.DrawFn) -> tuple[Arrays, Arrays]:
    """Tensors of any bits, and masks for some of them; the removed weights are zero."""
    tensors: Arrays = {}
    masks: Arrays = {}
    for name in draw(st.lists(st.text(max_size=12), unique=True, max_size=6)):
        shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        size = int(np.prod(shape)) * dtype.itemsize
        raw = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
        if dtype == np.bool_:
            raw = raw & np.uint8(1)
        tensors[name] = raw.view(dtype).reshape(shape).copy()
        if draw(st.booleans()):
            masks[name] = draw(arrays.arrays(np.bool_, shape))
            tensors[name][~masks[name]] = 0
    return tensors, masks


@given(adapter=adapters(), metadata=st.dictionaries(st.text(), st.integers() | st.text()))
@settings(max_examples=100)
def test_what_is_saved_is_loaded_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    adapter: tuple[Arrays, Arrays],
    metadata: dict[str, str | int],
) -> None:
    tensors, masks = adapter
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    save_sparse(path, tensors, masks, metadata)
    stored = load_sparse(path)
    assert list(stored.tensors) == list(tensors)
    assert stored.masks.keys() == masks.keys()
    assert stored.metadata == metadata
    for name, tensor in tensors.items():
        assert_same(stored.tensors[name], tensor)
    for name, mask in masks.items():
        assert_same(stored.masks[name], mask)


def test_nan_payloads_and_negative_zeros_survive_among_the_kept(tmp_path: Path) -> None:
    bits = np.array([[0x7FC00001, 0x80000000, 0], [0xFF800001, 0x3F800000, 0]], np.uint32)
    mask = bits != 0
    save_sparse(tmp_path / "a", {"w": bits.view(np.float32)}, {"w": mask}, {})
    assert_same(load_sparse(tmp_path / "a").tensors["w"].view(np.uint32), bits)


def test_removed_weights_come_back_as_positive_zeros(tmp_path: Path) -> None:
    save_sparse(tmp_path / "a", {"w": np.array([-0.0, 1.0])}, {"w": np.array([False, True])}, {})
    assert_same(load_sparse(tmp_path / "a").tensors["w"], np.array([0.0, 1.0]))


def test_layout_in_memory_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    tensor = np.arange(12, dtype=">f4").reshape(3, 4).T
    save_sparse(tmp_path / "a", {"w": tensor}, {"w": tensor > 0}, {})
    stored = load_sparse(tmp_path / "a")
    assert_same(stored.tensors["w"], tensor.astype(np.float32))
    assert stored.tensors["w"].flags.writeable


def houlsby(backbone: str, layers: int, width: int, sparsity: float) -> tuple[Arrays, Arrays]:
    generator = np.random.default_rng(0)
    tensors: Arrays = {}
    masks: Arrays = {}
    for layer in range(layers):
        for site in ("attention.output.dropout", "output.dropout"):
            adapter = f"{backbone}.encoder.layer.{layer}.{site}.adapter"
            for side, shape in (("down", (64, width)), ("up", (width, 64))):
                mask = generator.random(shape) >= sparsity
                values = np.where(mask, generator.standard_normal(shape), 0)
                tensors[f"{adapter}.{side}.weight"] = values.astype(np.float32)
                tensors[f"{adapter}.{side}.bias"] = np.zeros(shape[0], np.float32)
                masks[f"{adapter}.{side}.weight"] = mask
    tensors["classifier.weight"] = generator.standard_normal((2, width)).astype(np.float32)
    return tensors, masks


@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.8, 0.99])
@pytest.mark.parametrize(("backbone", "layers", "width"), [("bert", 6, 384), ("roberta", 12, 768)])
def test_the_file_is_as_small_as_what_survives(
    tmp_path: Path, backbone: str, layers: int, width: int, sparsity: float
) -> None:
    tensors, masks = houlsby(backbone, layers, width, sparsity)
    path = tmp_path / "adapter.safetensors"
    save_sparse(path, tensors, masks, METADATA)
    kept = sum(int(mask.sum()) for mask in masks.values())
    prunable = sum(mask.size for mask in masks.values())
    dense = sum(tensor.nbytes for name, tensor in tensors.items() if name not in masks)
    assert path.stat().st_size <= 1.02 * (kept * 4 + prunable / 8) + 4096 + dense
    assert path.stat().st_size <= kept * 4 + prunable / 8 + dense + 2048


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    mask = np.arange(12).reshape(3, 4) % 3 != 0
    weights = np.cumsum(mask, dtype=np.float32).reshape(3, 4) * mask
    path = tmp_path / "adapter.safetensors"
    tensors = {"a.down.weight": weights, "a.down.bias": np.ones(3, np.float32)}
    save_sparse(path, tensors, {"a.down.weight": mask}, METADATA)
    return path


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(RecordError) as caught:
        load_sparse(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        saved.write_bytes(damaged)
        assert_refused(saved)


def test_every_truncation_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content), 7):
        saved.write_bytes(content[:length])
        assert_refused(saved)
    saved.write_bytes(content + b"\0")
    assert_refused(saved)


@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(content)
    assert_refused(path, "is not a readable sparse adapter")


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    assert_refused(path, "No such file")
    save_file({"w": np.ones(3, np.float32)}, path)
    assert_refused(path, f"is not of the format {FORMAT}")
    save_file({"w": np.ones(3, np.float32)}, path, {FORMAT: "[1]"})
    assert_refused(path, f"is not of the format {FORMAT}")
    of_format = {FORMAT: json.dumps({"format": FORMAT, "version": 1})}
    torch_save_file({"w": torch.ones(3, dtype=torch.float8_e5m2)}, path, of_format)
    assert_refused(path, "float8_e5m2")
    path.write_bytes(pickle.dumps(pytest.fail))
    assert_refused(path)


def table(*rows: list[object]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(rows).encode())).decode()


def rewrite(path: Path, arrays_: Arrays | None = None, **changes: object) -> None:
    """Change a file and make its checksum right again."""
    with safe_open(path, "numpy") as file:
        document = json.loads(file.metadata()[FORMAT]) | changes
        flat = {key: file.get_tensor(key) for key in file.keys()} | (arrays_ or {})  # noqa: SIM118
    del document["sha256"]
    digest = hashlib.sha256(json.dumps(document).encode())
    for key in sorted(flat):
        digest.update(f"{key} {flat[key].dtype.name} {flat[key].size} ".encode())
        digest.update(flat[key].tobytes())
    document["sha256"] = digest.hexdigest()
    save_file(flat, path, {FORMAT: json.dumps(document)})


def test_rewriting_alone_changes_nothing(saved: Path) -> None:
    content = saved.read_bytes()
    rewrite(saved)
    assert saved.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, ["its version is 2, not 1"]),
        ({"format": "other"}, ["is not of the format"]),
        ({"arrays_": {"masks": np.array([255, 240], np.uint8)}}, ["11 values", "require 15"]),
        ({"arrays_": {"masks": np.array([255], np.uint8)}}, ["1 bytes of masks for 12 weights"]),
        ({"arrays_": {"values.float32": np.ones(10, np.float32)}}, ["10 values", "require 11"]),
        ({"arrays_": {"values.float32": np.ones(11, np.int32)}}, ["11 of float32"]),
        ({"tensors": table(["w", "float32", [-3], False])}, ["shape"]),
        ({"tensors": table(["w", "float32", [1 << 60], True])}, ["masks for"]),
        ({"tensors": table(["w", "float16", [3, 4], True])}, ["it has no 'values.float16'"]),
        ({"tensors": table(["w"])}, ["missing"]),
        ({"tensors": table([7, "float32", [3], False])}, ["7 is no tensor's name"]),
        ({"tensors": table(["w", "float32", [3], 2])}, ["2 is not true or false"]),
        ({"tensors": table(["w", "complex64", [3], False])}, ["'complex64' is none of bool"]),
        ({"tensors": table(["w", ["float32"], [3], False])}, ["['float32'] is none of bool"]),
        ({"tensors": table(*[["w", "float32", [1], False]] * 2)}, ["have the same name"]),
        ({"tensors": "AAAA"}, ["decompressing"]),
    ],
)
def test_contents_that_contradict_each_other_are_refused(
    saved: Path, changes: dict[str, Any], words: list[str]
) -> None:
    rewrite(saved, **changes)
    assert_refused(saved, *words)


@pytest.mark.parametrize(
    ("tensors", "masks", "metadata", "words"),
    [
        ({}, {"w": np.ones(2, bool)}, {}, "w: has a mask but no values"),
        ({"w": np.ones(2)}, {"w": np.ones(3, bool)}, {}, r"must be bool\[2\], is bool\[3\]"),
        ({"w": np.ones(2)}, {"w": np.ones(2)}, {}, r"must be bool\[2\], is float64\[2\]"),
        ({"w": np.ones(2)}, {"w": np.zeros(2, bool)}, {}, "removes is not zero"),
        ({"w": np.array([np.nan])}, {"w": np.zeros(1, bool)}, {}, "removes is not zero"),
        ({"w": np.array([object()])}, {}, {}, "w: object is none of"),
        ({}, {}, {"score": float("nan")}, "not JSON compliant"),
        ({}, {}, {"score": {1}}, "not JSON serializable"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(
    saved: Path, tensors: Arrays, masks: Arrays, metadata: dict[str, object], words: str
) -> None:
    content = saved.read_bytes()
    with pytest.raises(RecordError, match=words):
        save_sparse(saved, tensors, masks, metadata)
    assert saved.read_bytes() == content


def test_the_same_adapter_gives_the_same_bytes_and_nothing_beside_them(saved: Path) -> None:
    content = saved.read_bytes()
    stored = load_sparse(saved)
    save_sparse(saved, stored.tensors, stored.masks, stored.metadata)
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_failed_write_leaves_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RecordError, match="No space left"):
        save_sparse(saved, {"w": np.ones(2)}, {}, {})
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_neither_torch_nor_pickle_is_used(saved: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sparsead.pruning.storage import load_sparse;"
        f"load_sparse(Path({str(saved)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    source = Path(sys.modules[load_sparse.__module__].__file__ or "").read_text("utf-8")
    assert not re.search(r"pickle|np\.load|\beval\b", source)


@given(adapters())
def test_the_size_of_the_file_is_known_beforehand(
    tmp_path_factory: pytest.TempPathFactory,
    adapter: tuple[Arrays, Arrays],
) -> None:
    given_tensors, masks = adapter
    path = tmp_path_factory.mktemp("size") / "adapter.safetensors"
    tensors = {name: np.ones(t.shape, np.float32) for name, t in given_tensors.items()}
    for name, mask in masks.items():
        tensors[name][~mask] = 0
    removed = sum(int((~mask).sum()) for mask in masks.values())
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    save_sparse(path, tensors, masks, METADATA)
    assert path.stat().st_size == sparse_size(shapes, masks, removed, METADATA)
