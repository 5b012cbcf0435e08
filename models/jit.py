"""Compilation of loops over events to machine code, and the disk cache that holds it.

A function marked `compiled` is written as for one event after another. Importing a module that has such functions
touches no file. The first call of any of them opens the disk cache, and compiles only what the cache does not hold;
`pipeline.worker.warmup` does both before the first event, and removes the machine code of other versions.

Numba compiles a function anew when its own file changes, but not when a table or a function that it takes from
another file does. So the cache has a folder for each digest of all files of this package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.core.caching import NullCache
from numba.core.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])
_PACKAGE: Final = Path(__file__).parent
CACHE_PARENTS: Final = (_PACKAGE / "__pycache__", Path.home() / ".cache" / "session-risk")
"""Where the disk cache may lie: in the first that can be written to. What it holds is executed: it must never be a
folder that other users can write to."""


def digest_of(folder: Path) -> str:
    """Return a digest of every Python file below *folder*: all that compiled code may have been made from."""
    digest = blake2b(digest_size=8)
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def cache_folder(parents: tuple[Path, ...], digest: str) -> Path | None:
    """Return the folder for the machine code of *digest* in the first of *parents* that can be written to.

    Numba reads nothing from a folder that it may not write to. So where an earlier parent holds machine code but is
    read-only, as in an image, that code is copied. ``None`` where nothing can be written: then every process
    compiles anew.
    """
    read_only: Path | None = None
    for parent in parents:
        folder = parent / f"compiled-{digest}"
        try:
            if read_only is not None and not folder.exists():
                _copy(read_only, folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "in-use").touch()
        except OSError:
            read_only = read_only or (folder if folder.is_dir() else None)
            continue
        return folder
    return None


def _copy(source: Path, folder: Path) -> None:
    """Copy a folder all at once or not at all: other processes may start now, too, and execute what is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary, suppress(OSError):
        shutil.copytree(source, Path(temporary) / folder.name).rename(folder)


@cache
def open_disk_cache() -> Path | None:
    """Have Numba keep machine code in a folder for this version of the package, and return the folder, if any."""
    folder = cache_folder(CACHE_PARENTS, digest_of(_PACKAGE))
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]  # set by name when Numba starts
    return folder


def remove_other_versions(folder: Path) -> None:
    """Delete the machine code of other versions that lies beside the cache *folder*."""
    for other in folder.parent.glob("compiled-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


class _CacheOnFirstUse(NullCache):
    """Stands in for the disk cache of a function until it is first called: Numba's own writes when it is made."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Replace this object by the disk cache, if there is one, and return what that holds of *sig*."""
        if open_disk_cache() is None:
            return None
        self._dispatcher.enable_caching()
        return self._dispatcher._cache.load_overload(sig, target_context)  # noqa: SLF001 - what its compile() calls


def compiled(function: Function) -> Function:
    """Compile *function* for the types of its first call: arrays, records, numbers; nothing of Python's own.

    Arithmetic is that of IEEE 754, term by term in the order it is written: the same bits as in Python.
    """
    dispatcher: Any = numba.njit(error_model="numpy")(function)
    dispatcher._cache = _CacheOnFirstUse(dispatcher)  # noqa: SLF001 - as its enable_caching() does
    return cast("Function", dispatcher)


def _load(number_type: Any) -> Callable[[Any, Any], Any]:
    """Return an instruction that loads a number of *number_type* from an address."""

    def typed(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], context.get_value_type(number_type).as_pointer())
            return builder.load(pointer, align=1)

        return number_type(address), generate

    return typed


byte: Final = cast("Callable[[int], np.uint8]", intrinsic(_load(types.uint8)))
"""The byte at an address.

Nothing is checked: the caller makes sure that the address is inside a buffer, and that the buffer stays alive.
Passing an address instead of an array saves most of what a call from one compiled function to another costs.
"""
word: Final = cast("Callable[[int], np.uint64]", intrinsic(_load(types.uint64)))
"""The eight bytes from an address on as one little-endian number; unchecked like :data:`byte`."""


def _store(_context: Any, address: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], arguments[1].type.as_pointer())
        builder.store(arguments[1], pointer, align=1)

    return types.void(address, types.uint64), generate


put_word: Final = cast("Callable[[int, np.uint64], None]", intrinsic(_store))
"""Store eight bytes from an address on; unchecked like :data:`byte`."""
