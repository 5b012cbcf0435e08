"""Encryption at rest: secrets of receivers and private keys are stored encrypted with the keys of a key file.

The keys are Fernet's (AES-128-CBC and HMAC-SHA-256). The first line encrypts, and every line decrypts, so that
a new key can be put above the old one without making anything unreadable.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_KEY_COMMAND: Final = "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"


class SealError(ValueError):
    """The key file cannot be used, or does not decrypt the store's secrets; no message contains a key."""


class Sealer:
    """Encrypts and decrypts strings; *where* names the key file in errors."""

    def __init__(self, keys: list[Fernet], where: str) -> None:
        self._keys = MultiFernet(keys)
        self._where = where

    def __repr__(self) -> str:
        return f"Sealer({self._where!r})"

    def seal(self, text: str) -> bytes:
        """Return *text* encrypted with the first key."""
        return self._keys.encrypt(text.encode())

    def open(self, data: bytes) -> str:
        """Return the decrypted text; raises `SealError` if none of the keys decrypts it."""
        try:
            return self._keys.decrypt(data).decode()
        except InvalidToken:
            raise SealError(
                f"{self._where}: no key in it decrypts the secrets of this store; put back the key "
                "the store was used with, as a further line if there is a new one"
            ) from None


def load(path: Path, *, make: bool = True) -> Sealer:
    """Read the keys in *path*; a missing file is created with a new key, readable by its owner only, if *make*.

    Raises `SealError` for a file without valid keys, or a missing one; `OSError` if it cannot be read.
    """
    if make and not path.exists():
        _create_key_file(path)
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise SealError(f"{path}: there is no such key file") from None
    except UnicodeDecodeError:
        raise SealError(f"{path}: not a key file; each line is a key as made by {_KEY_COMMAND}") from None
    keys = [_key(path, number, line) for number, line in _lines(text)]
    if not keys:
        raise SealError(f"{path}: contains no key; each line is a key as made by {_KEY_COMMAND}")
    return Sealer(keys, str(path))


def _lines(text: str) -> list[tuple[int, str]]:
    pairs = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in pairs if line and not line.startswith("#")]


def _key(path: Path, number: int, line: str) -> Fernet:
    try:
        return Fernet(line)
    except ValueError:
        raise SealError(f"{path}, line {number}: not a key; each line is a key as made by {_KEY_COMMAND}") from None


def _create_key_file(path: Path) -> None:
    """Create the file with a new key; of concurrent processes one wins, and none reads half a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
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
    """Make sure that the file survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
