"""A memory that is too small is one line, which says what needs less."""

from __future__ import annotations

import pytest
import torch

from sparsead.errors import DeviceError
from sparsead.errors.memory import explain_lack_of_memory


def test_an_allocation_that_is_too_large_is_told_with_its_size() -> None:
    with pytest.raises(DeviceError) as caught, explain_lack_of_memory("cpu"):
        torch.empty(2**50)
    said = str(caught.value)
    assert said.startswith("device=cpu: the run needs more memory than there is (it tried to allo")
    assert "a smaller protocol.batch_size" in said


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            r"there is \(it tried to allocate 2\.00 GiB\); a smaller",
        ),
        (MemoryError(), "device=cuda: the run needs more memory than there is; a smaller"),
    ],
)
def test_a_full_gpu_is_told(error: Exception, told: str) -> None:
    with pytest.raises(DeviceError, match=told), explain_lack_of_memory("cuda"):
        raise error


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_lack_of_memory("cpu"):
        raise RuntimeError("shapes cannot be multiplied")
