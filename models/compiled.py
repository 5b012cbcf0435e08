"""Loops over events, compiled to machine code: a function here is written as for one event after another.

The machine code is kept on disk. Numba renews it when the file of a function changes, but not when a table or
a function that it takes from another file does; so it is kept by a digest of all files of this package.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
_HERE: Final = Path(__file__).parent


def _digest() -> str:
    """Of every file that compiled code may have been made from."""
    digest = blake2b(digest_size=8)
    for file in sorted(_HERE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _place() -> Path | None:
    """Where machine code is kept: beside this file, else in the user's cache; nowhere if neither is writable.

    Never where others may write: it is loaded as code.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "session-risk"
    for place in (_HERE / "__pycache__", cache):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    return None


def _keep() -> bool:
    """Tell Numba where to keep machine code, and forget that of other versions; whether there is a place."""
    place = _place()
    if place is None:
        return False
    mine = place / f"compiled-{_digest()}"
    for other in place.glob("compiled-*"):
        if other != mine:
            shutil.rmtree(other, ignore_errors=True)
    numba.config.CACHE_DIR = str(mine)
    return True


_KEPT: Final = _keep()


def compiled(function: Function) -> Function:
    """Compile *function* for the types of its first call: arrays, records, numbers; nothing of Python's own.

    Arithmetic is that of IEEE 754, term by term in the order it is written: the same bits as in Python.
    """
    made: Function = numba.njit(cache=_KEPT, error_model="numpy")(function)
    return made
