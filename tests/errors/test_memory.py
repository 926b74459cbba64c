"""A memory that is too small is one line, which says what needs less."""

from __future__ import annotations

import pytest
import torch

from sparsead.errors import DeviceError
from sparsead.errors.memory import explain_lack_of_memory


def test_an_allocation_that_is_too_large_is_told_with_its_size() -> None:
    with pytest.raises(DeviceError) as caught, explain_lack_of_memory():
        torch.empty(2**50)
    said = str(caught.value)
    assert said.startswith("out of memory (it tried to allocate 4503599627370496 bytes): a smaller")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            r"^out of memory \(it tried to allocate 2\.00 GiB\): a smaller",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB)"), "^out of memory: a"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), "^out of memory: a smaller"),
        (MemoryError(), "^out of memory: a smaller"),
    ],
)
def test_a_full_memory_is_told_however_it_is_raised(error: Exception, told: str) -> None:
    with pytest.raises(DeviceError, match=told), explain_lack_of_memory():
        raise error


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_lack_of_memory():
        raise RuntimeError("shapes cannot be multiplied")
