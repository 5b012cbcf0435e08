"""Memory that is no longer used goes back to the system: deploy/ keeps large blocks outside the heap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from platform import libc_ver

import pytest

ROOT = Path(__file__).parent.parent.parent
VARIABLE = "MALLOC_MMAP_THRESHOLD_"
LARGE = 1 << 20
"""Bytes from which a block must go back to the system as soon as it is free."""

PLACE = """
import numpy as np
del (first := [np.ones({large} * 16, np.uint8)])[0]  # by this glibc learns to take large blocks from the heap
block = np.ones({large} * 2, np.uint8)
heap = next(line for line in open("/proc/self/maps") if line.endswith("[heap]\\n")).split()[0].split("-")
print(int(heap[0], 16) <= block.ctypes.data < int(heap[1], 16))
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="other C libraries have no such habit")
@pytest.mark.parametrize(("setting", "on_heap"), [({}, "True"), ({VARIABLE: str(LARGE)}, "False")])
def test_a_large_block_is_on_the_heap_unless_the_environment_sets_the_threshold(
    setting: dict[str, str], on_heap: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | setting
    code = PLACE.format(large=LARGE)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == on_heap


@pytest.mark.parametrize("file", ["deploy/Dockerfile", "deploy/systemd/session-risk@.service"])
def test_the_image_and_the_unit_set_the_threshold(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")

    assert re.findall(rf"\b{VARIABLE}=(\d+)", text) == [str(LARGE)]
