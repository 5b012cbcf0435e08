"""The wire form of a context's row: a version, a checksum, and JSON, which names what it holds.

A member that an older row does not have is new and has its default; one that nobody knows is refused: it was
written by a newer version, and leaving it out would be misreading it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar
from zlib import crc32

from pydantic_core import from_json

from models.state import UnreadableRow

VERSION: Final = 2
"""To be raised when members of the same name come to mean something else."""
_BARE: Final = ord("{")
"""How rows of the version before begin: they are JSON and nothing else."""
_HEAD: Final = struct.Struct("<BI")

T = TypeVar("T")


def seal(key: bytes, told: bytes) -> bytes:
    """The row of *key* that holds the JSON *told*; its checksum, CRC-32, is of both."""
    return _HEAD.pack(VERSION, crc32(told, crc32(key))) + told


def opened(value: bytes) -> bytes:
    """The JSON in a row that :func:`seal` made."""
    return value[_HEAD.size :]


def unseal(key: bytes, value: bytes, load: Callable[[dict[str, Any]], T]) -> T:
    """What *load* makes of the JSON object in a row.

    Raises:
        UnreadableRow: the row is of an unknown version, cut, spoilt, another's, or holds what is not known.
    """
    told = value
    if value[:1] != bytes([_BARE]):
        if value[:1] != bytes([VERSION]):
            raise UnreadableRow(
                f"a row of version {value[:1].hex() or 'nothing'}, where this worker reads version "
                f"{VERSION:02x}"
            )
        told = opened(value)
        if len(value) < _HEAD.size or _HEAD.unpack_from(value)[1] != crc32(told, crc32(key)):
            raise UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")
    try:
        return load(from_json(told))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = str(error).partition("\n")[0]
        raise UnreadableRow(f"a row that cannot be read ({type(error).__name__}: {why[:120]})") from error
