"""Keyed pseudonyms in place of names in messages: HMAC-SHA-256 (RFC 2104), marked with the id of the key.

The same name has the same pseudonym as long as a key is in use, so records that belong together still do. Without the
key nobody can turn a pseudonym back or test a guess. An address becomes one pseudonym as a whole: a pseudonym that
kept its prefix would show who shares a network and, with a few known ones, which; the number of the network (ASN) is
a field of its own.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from pipeline.processing.processor import ChangelogRow, Message, Outcome, Processor, ProcessorSpec, Record
from schemas.decode import encode
from schemas.fields import DEFAULT_TENANT
from schemas.naming import KEYED_TOPICS, NAMING, NAMING_OBJECTS, WITHHELD, Naming
from schemas.topics import DEAD_LETTERS

DIGEST_BYTES: Final = 16
"""Bytes used of the 32 that HMAC-SHA-256 gives: the minimum of RFC 2104 §5; 22 characters in base64."""
MIN_SECRET_BYTES: Final = 32
"""Least number of bytes of a key's secret."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")


class BadKeysError(ValueError):
    """The file of keys cannot be used; the message names the line, never its content."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key: every pseudonym contains its *id*, none its *secret*."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Makes pseudonyms with the first of *keys*; the others are earlier keys, for looking up older pseudonyms."""

    keys: tuple[Key, ...]

    def of(self, naming: Naming, tenant: str, name: str) -> str:
        """Return the pseudonym of *name* within *tenant*: `p:KEY_ID:22 characters`."""
        return _pseudonym(self.keys[0], naming, tenant, name)

    def of_each_key(self, naming: Naming, tenant: str, name: str) -> dict[str, str]:
        """Return the pseudonym of *name* by the id of each key, the key in use first."""
        return {key.id: _pseudonym(key, naming, tenant, name) for key in self.keys}

    def pseudonymize(self, message: Message) -> Message:
        """Return *message* with pseudonyms in place of names; unchanged if its topic keeps names."""
        topic, key, value = message
        if topic not in KEYED_TOPICS:
            return message
        fields: dict[str, Any] = from_json(value)
        if topic == DEAD_LETTERS:
            kept = {name: item for name, item in fields.items() if name not in WITHHELD}
            return Message(topic, None, encode(kept))
        return Message(topic, key, encode(self._with_pseudonyms(fields, fields.get("tenant") or _tenant_of(fields))))

    def _with_pseudonyms(self, value: Any, tenant: str) -> Any:
        if isinstance(value, list):
            return [self._with_pseudonyms(item, tenant) for item in value]
        if not isinstance(value, dict):
            return value
        pseudonymized = {name: self._field(name, item, tenant) for name, item in value.items()}
        for name, naming in NAMING_OBJECTS.items():
            if isinstance(inner := pseudonymized.get(name), dict) and isinstance(inner.get("uid"), str):
                pseudonymized[name] = {**inner, "uid": self.of(naming, tenant, inner["uid"])}
        return pseudonymized

    def _field(self, name: str, value: Any, tenant: str) -> Any:
        naming = NAMING.get(name)
        if naming is None or not isinstance(value, str):
            return self._with_pseudonyms(value, tenant)
        return self.of(naming, tenant, value)


def _tenant_of(finding: Mapping[str, Any]) -> str:
    """The tenant of an OCSF finding."""
    return str(finding.get("unmapped", {}).get("tenant") or DEFAULT_TENANT)


def _pseudonym(key: Key, naming: Naming, tenant: str, name: str) -> str:
    # UTF-8 never contains this byte, so the three parts cannot run into each other.
    payload = b"\xff".join(part.encode() for part in (naming, tenant, name))
    digest = hmac.digest(key.secret, payload, "sha256")[:DIGEST_BYTES]
    return f"p:{key.id}:{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def read_keys(path: Path) -> Pseudonyms:
    """Read the keys in *path*: a line each, id and secret, the key in use first; `#` begins a comment.

    Raises `BadKeysError`, or `OSError` if the file cannot be read.
    """
    keys: list[Key] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        words = line.decode(errors="replace").split()
        if words and not words[0].startswith("#"):
            keys.append(_key(f"{path}, line {number}", words, keys))
    if not keys:
        raise BadKeysError(f"{path}: holds no key; a line is an id and a secret, as `openssl rand -hex 32` gives")
    return Pseudonyms(tuple(keys))


def _key(where: str, words: Sequence[str], keys: Iterable[Key]) -> Key:
    if len(words) != 2:
        raise BadKeysError(f"{where}: a key is two words, its id and its secret")
    key_id, secret = words
    if not _ID.fullmatch(key_id):
        raise BadKeysError(f"{where}: a key's id is 1 to 16 letters, digits, _ or -")
    if key_id in [key.id for key in keys]:
        raise BadKeysError(f"{where}: an earlier line has a key of this id; give every key one of its own")
    if len(secret) < MIN_SECRET_BYTES:
        raise BadKeysError(f"{where}: the secret is too short; take {MIN_SECRET_BYTES} or more random characters")
    return Key(key_id, secret.encode())


class _PseudonymizingProcessor:
    """A processor whose messages get pseudonyms; its state and its changelog keep names."""

    def __init__(self, processor: Processor, pseudonyms: Pseudonyms) -> None:
        self._processor = processor
        self._pseudonymize: Callable[[Message], Message] = pseudonyms.pseudonymize

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        return self._pseudonymized(self._processor.process(topic, records, now_ms))

    def on_timer(self, now_ms: int) -> Outcome:
        return self._pseudonymized(self._processor.on_timer(now_ms))

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        self._processor.restore(rows)

    def on_restored(self) -> None:
        self._processor.on_restored()

    def _pseudonymized(self, outcome: Outcome) -> Outcome:
        return replace(outcome, messages=list(map(self._pseudonymize, outcome.messages)))


def with_pseudonyms(specs: Iterable[ProcessorSpec], pseudonyms: Pseudonyms | None) -> tuple[ProcessorSpec, ...]:
    """Return *specs* whose processors send pseudonyms in place of names; unchanged if *pseudonyms* is `None`."""
    if pseudonyms is None:
        return tuple(specs)
    return tuple(replace(spec, create=partial(_create, spec, pseudonyms)) for spec in specs)


def _create(spec: ProcessorSpec, pseudonyms: Pseudonyms, partition: int) -> Processor:
    return _PseudonymizingProcessor(spec.create(partition), pseudonyms)
