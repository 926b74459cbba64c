"""The peak memory is that of one run, and memory that a step frees is reused by the next."""

import subprocess
import sys

import pytest

LARGE = 400 * 2**20

ONE_RUN_AFTER_ANOTHER = f"""
import torch
from sparsead.training.allocator import keep_freed_memory
from sparsead.training.device import reset_peak_memory, peak_memory
keep_freed_memory()
reset_peak_memory("cpu")
model = torch.nn.Linear({LARGE} // 4, 1)
model.hook = lambda: None
model.hook.model = model  # a cycle, as hooks on a backbone make them
del model
first = peak_memory("cpu")
reset_peak_memory("cpu")
print(first, peak_memory("cpu"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_small_run_behind_a_large_one_in_a_larger_process_has_a_small_peak() -> None:
    held = bytearray(b"1") * (4 * LARGE)
    command = [sys.executable, "-c", ONE_RUN_AFTER_ANOTHER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    del held
    first, second = map(int, done.stdout.split())
    assert LARGE < first < 4 * LARGE
    assert second < first - LARGE // 2


STEPS_THAT_FREE = f"""
import sys
from resource import RUSAGE_SELF, getrusage
import torch
from sparsead.training.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
faults = []
for _ in range(20):
    torch.ones({LARGE} // 40)
    faults.append(getrusage(RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[9])  # before that the heap grows
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told so")
def test_freed_memory_is_not_faulted_in_again() -> None:
    faults = {
        way: int(subprocess.check_output([sys.executable, "-c", STEPS_THAT_FREE, way], text=True))
        for way in ("kept", "returned")
    }
    assert faults["kept"] < faults["returned"] / 4
