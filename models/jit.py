"""Loops over events, compiled to machine code: a function here is written as for one event after another.

The machine code is kept on disk. Numba renews it when the file of a function changes, but not when a table or
a function that it takes from another file does; so it is kept by a digest of all files of this package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.core.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])
_HERE: Final = Path(__file__).parent
PLACES: Final = (_HERE / "__pycache__", Path.home() / ".cache" / "session-risk")
"""Where machine code may be kept: the first that can be written to. It is run: never where others write."""


def digest_of(folder: Path) -> str:
    """Of every Python file below *folder*: what compiled code may have been made from."""
    digest = blake2b(digest_size=8)
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def kept_in(places: tuple[Path, ...], digest: str) -> Path | None:
    """A folder for the machine code of *digest* in the first of *places* that can be written to.

    What an earlier place has of it is taken along, as in an image that may only be read: Numba reads nothing
    where it may not write. What other versions left there is forgotten. ``None`` where nothing can be
    written: then every start compiles anew.
    """
    ready: Path | None = None
    for place in places:
        mine = place / f"compiled-{digest}"
        try:
            if ready is not None and not mine.exists():
                _take_along(ready, mine)
            mine.mkdir(parents=True, exist_ok=True)
            (mine / "in-use").touch()
        except OSError:
            ready = ready or (mine if mine.is_dir() else None)
            continue
        for other in place.glob("compiled-*"):
            if other != mine:
                shutil.rmtree(other, ignore_errors=True)
        return mine
    return None


def _take_along(ready: Path, mine: Path) -> None:
    """Copy a folder at once or not at all: other processes may start now, too, and code is run as it is."""
    mine.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=mine.parent) as folder, suppress(OSError):
        shutil.copytree(ready, Path(folder) / mine.name).rename(mine)


_KEPT: Final = kept_in(PLACES, digest_of(_HERE))
if _KEPT is not None:
    numba.config.CACHE_DIR = str(_KEPT)  # type: ignore[attr-defined]  # set by name when Numba starts


def compiled(function: Function) -> Function:
    """Compile *function* for the types of its first call: arrays, records, numbers; nothing of Python's own.

    Arithmetic is that of IEEE 754, term by term in the order it is written: the same bits as in Python.
    """
    return cast("Function", numba.njit(cache=_KEPT is not None, error_model="numpy")(function))


def _read(kind: Any) -> Callable[[Any, Any], Any]:
    """An instruction that reads a number of *kind* at an address."""

    def typed(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer()), align=1)

        return kind(address), generate

    return typed


byte: Final = cast("Callable[[int], np.uint8]", intrinsic(_read(types.uint8)))
"""The byte at an address.

Nothing is checked: whoever asks knows that it is there, and keeps alive what it is a part of. An address in
place of an array spares compiled functions most of what it costs them to call each other.
"""
word: Final = cast("Callable[[int], np.uint64]", intrinsic(_read(types.uint64)))
"""The eight bytes from an address on as one number, little end first; as :data:`byte`."""


def _write(_context: Any, address: Any, _told: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], arguments[1].type.as_pointer())
        builder.store(arguments[1], place, align=1)

    return types.void(address, types.uint64), generate


put_word: Final = cast("Callable[[int, np.uint64], None]", intrinsic(_write))
"""Write eight bytes from an address on; as :data:`byte`, and the place must be ours to write."""
