"""Products of bf16 matrices on a CPU without kernels for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import sparsead.train as run
from composing import ask_for
from sparsead.assembly import phases
from sparsead.assembly.trained import load
from sparsead.training import emulation
from sparsead.training.clock import Clock
from sparsead.training.emulation import InFp32, fast_products

PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "a linear layer": F.linear,
    "a linear layer without bias": lambda x, w, _: F.linear(x, w),
    "a matrix product": lambda x, w, _: x[0] @ w.T,
    "a batched product": lambda x, w, _: x @ x.transpose(1, 2) @ x,
    "addmm": lambda x, w, b: torch.addmm(b, x[0], w.T, beta=0.5, alpha=2),
    "baddbmm": lambda x, w, b: torch.baddbmm(b, x, w.T.expand(len(x), -1, -1)),
    "einsum": lambda x, w, _: torch.einsum("bsi,oi->bso", x, w),
}


class DtypesOfProducts(TorchDispatchMode):
    """Collects the dtypes of the matrices that torch multiplies."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "mm" in func.__name__.partition(".")[0]:
            self.seen.add(args[-1].dtype)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "cpu_has_bf16_kernels", lambda: False)


def drawn(seed: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((3, 5, 8), (6, 8), (6,))
    tensors = [torch.randn(size, generator=generator).bfloat16().to(dtype) for size in sizes]
    return [each.requires_grad_() for each in tensors]


@pytest.mark.parametrize("name", PRODUCTS)
@given(seed=st.integers(0, 2**20))
def test_products_and_their_gradients_are_exact_up_to_the_rounding_of_bf16(
    name: str, seed: int
) -> None:
    exact, rounded = drawn(seed, torch.float64), drawn(seed, torch.bfloat16)
    expected = PRODUCTS[name](*exact)
    with DtypesOfProducts() as dtypes, InFp32():  # type: ignore[no-untyped-call]
        product = PRODUCTS[name](*rounded)
        product.backward(torch.ones_like(product))
    expected.backward(torch.ones_like(expected))
    assert dtypes.seen == {torch.float32}
    assert product.dtype is torch.bfloat16
    pairs: list[tuple[Tensor, Tensor | None]] = [(product.detach(), expected.detach())]
    pairs += [(r.grad, e.grad) for r, e in zip(rounded, exact, strict=True) if r.grad is not None]
    for found, right in pairs:
        assert right is not None
        # each product is rounded by up to 2⁻⁹ of its size, and is a factor or a term of later ones
        torch.testing.assert_close(
            found.double(), right, rtol=0.04, atol=0.04 * float(right.abs().max())
        )


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize(("precision", "device"), [("fp32", "cpu"), ("bf16", "cuda")])
def test_nothing_changes_in_fp32_or_on_a_gpu(precision: str, device: str) -> None:
    x = torch.ones(2, 2, dtype=torch.bfloat16)
    with DtypesOfProducts() as dtypes, fast_products(precision, device):
        torch.mm(x, x)
    assert dtypes.seen == {torch.bfloat16}


def test_nothing_changes_on_a_cpu_with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "cpu_has_bf16_kernels", lambda: True)
    x = torch.ones(2, 2, dtype=torch.bfloat16)
    with DtypesOfProducts() as dtypes, fast_products("bf16", "cpu"):
        torch.mm(x, x)
    assert dtypes.seen == {torch.bfloat16}


def test_a_build_of_torch_without_onednn_has_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)  # such a build has no such operators
    assert not emulation.cpu_has_bf16_kernels()


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize(
    ("backbone", "task"), [("tiny-bert", "demo_cola"), ("tiny-bart", "demo_xsum")]
)
def test_a_run_multiplies_no_bf16_matrices_where_there_are_no_kernels(
    tmp_path: Path, backbone: str, task: str
) -> None:
    request = ask_for(
        *(f"backbone={backbone}", f"task={task}", "task.limit=8", "protocol.epochs=1"),
        *("precision=bf16", "device=cpu", f"outputs={tmp_path}"),
    )
    with DtypesOfProducts() as dtypes:
        record = run.train(request)
        column = "sentence" if task == "demo_cola" else "document"
        load(record.folder).predict([{column: "The cat sat on the mat."}])
    assert dtypes.seen == {torch.float32}
    assert record.result["environment"]["precision"] == "bf16"


@pytest.mark.usefixtures("without_kernels")
def test_the_best_epoch_is_evaluated_again_as_it_was_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restored(*_: object) -> None:
        factor = torch.ones(2, 2, dtype=torch.bfloat16)
        torch.mm(factor, factor)
        raise EOFError  # what follows the evaluation is not tested here

    monkeypatch.setattr(phases, "restore_best", restored)
    protocol = SimpleNamespace(patience=1, selection=0.1)
    parts = (
        SimpleNamespace(spec=SimpleNamespace(protocol=protocol)),
        SimpleNamespace(
            folder=tmp_path, precision="bf16", device="cpu", clock=Clock(tmp_path, 0.0)
        ),
        SimpleNamespace(inputs=SimpleNamespace(task=None, data=None)),
        SimpleNamespace(state=SimpleNamespace(log_history=[{"epoch": 1.0}])),
    )
    with DtypesOfProducts() as dtypes, pytest.raises(EOFError):
        phases.score(*cast(Any, parts))
    assert dtypes.seen == {torch.float32}
