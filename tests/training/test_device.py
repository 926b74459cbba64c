"""The peak of memory is a run's own."""

import subprocess
import sys

import pytest

LARGE = 400 * 2**20

ONE_RUN_AFTER_ANOTHER = f"""
import torch
from sparsead.training.device import forget_peak_memory, peak_memory
forget_peak_memory("cpu")
torch.ones({LARGE} // 4)
first = peak_memory("cpu")
forget_peak_memory("cpu")
print(first, peak_memory("cpu"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_small_run_behind_a_large_one_in_a_larger_process_has_a_small_peak():
    held = bytearray(b"1") * (4 * LARGE)
    command = [sys.executable, "-c", ONE_RUN_AFTER_ANOTHER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    del held
    first, second = map(int, done.stdout.split())
    assert LARGE < first < 4 * LARGE
    assert second < first - LARGE // 2
