"""Memory that is no longer used comes back: a large block lives outside the heap, whatever was freed."""

from __future__ import annotations

import subprocess
import sys
from platform import libc_ver

import pytest

from pipeline.process_setup import LARGE

WHERE = """
import numpy as np
from pipeline.process_setup import give_back_large
told = give_back_large() if {told} else None
del (first := [np.ones({large} * 16, np.uint8)])[0]  # by this glibc learns to take large blocks from the heap
block = np.ones({large} * 2, np.uint8)
heap = next(line for line in open("/proc/self/maps") if line.endswith("[heap]\\n")).split()[0].split("-")
print(told, int(heap[0], 16) <= block.ctypes.data < int(heap[1], 16))
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="other C libraries have no such habit")
@pytest.mark.parametrize(("told", "answer"), [(False, "None True"), (True, "True False")])
def test_a_large_block_is_on_the_heap_until_glibc_is_told_otherwise(told: bool, answer: str) -> None:
    code = WHERE.format(told=told, large=LARGE)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert asked.stdout.strip() == answer
