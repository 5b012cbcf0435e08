"""Secrets at rest: what the store keeps of others' secrets, and its private keys, is sealed by a key file.

The keys are Fernet's (AES-128-CBC and HMAC-SHA-256). The first line seals; every line opens, so that a new
key is put above the old one and nothing becomes unreadable.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_MAKE: Final = "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"


class SealError(ValueError):
    """The key file cannot be used, or does not open what was sealed; no message holds a key."""


class Sealer:
    """Seals and opens texts; *where* is named when something does not open."""

    def __init__(self, keys: list[Fernet], where: str) -> None:
        self._keys = MultiFernet(keys)
        self._where = where

    def __repr__(self) -> str:
        return f"Sealer({self._where!r})"

    def seal(self, text: str) -> bytes:
        """Return *text* as only a holder of the keys reads it."""
        return self._keys.encrypt(text.encode())

    def open(self, data: bytes) -> str:
        """Return the text that was sealed; raises `SealError` if none of the keys opens it."""
        try:
            return self._keys.decrypt(data).decode()
        except InvalidToken:
            raise SealError(
                f"{self._where}: holds no key that opens what this store has sealed; put back the key "
                "the store was used with, as a further line if there is a new one"
            ) from None


def load(path: Path, *, make: bool = True) -> Sealer:
    """Read the keys in *path*; without the file, *make* one with a new key that only its owner may read.

    Raises `SealError` for a file that holds no keys, or none to be found; `OSError` where it cannot be read.
    """
    if make and not path.exists():
        _make(path)
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise SealError(f"{path}: there is no such file of keys that seal secrets") from None
    except UnicodeDecodeError:
        raise SealError(f"{path}: is no file of keys; a line is a key as {_MAKE} gives") from None
    keys = [_key(path, number, line) for number, line in _lines(text)]
    if not keys:
        raise SealError(f"{path}: holds no key; a line is a key as {_MAKE} gives")
    return Sealer(keys, str(path))


def _lines(text: str) -> list[tuple[int, str]]:
    pairs = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in pairs if line and not line.startswith("#")]


def _key(path: Path, number: int, line: str) -> Fernet:
    try:
        return Fernet(line)
    except ValueError:
        raise SealError(f"{path}, line {number}: is no key; a line is a key as {_MAKE} gives") from None


def _make(path: Path) -> None:
    """Write a new key; of several processes that do, one wins, and no one reads half a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's alone
    try:
        os.write(file, Fernet.generate_key() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
        _flush_folder(path.parent)
    finally:
        Path(draft).unlink()


def _flush_folder(folder: Path) -> None:
    """Make sure that the file is still in its folder after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
