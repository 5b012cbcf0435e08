"""Keyed pseudonyms in place of names: HMAC-SHA-256 (RFC 2104), with the key's id, as messages leave a stage.

The same name has the same pseudonym for as long as a key is in use, so what belongs together still does; who
has no key can neither turn one back nor try names. Addresses are taken whole: a pseudonym that kept their
prefix would tell who shares a network and, with a few known ones, which; the network's number stands beside.
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
from schemas.members import DEFAULT_TENANT
from schemas.naming import KEYED_TOPICS, NAMING, NAMING_OBJECTS, WITHHELD, Naming
from schemas.topics import DEAD_LETTERS

KEPT_BYTES: Final = 16
"""Of the 32 that HMAC-SHA-256 gives: as many as RFC 2104 §5 asks for; 22 characters."""
MIN_SECRET_BYTES: Final = 32
"""Characters of a key's secret."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")


class BadKeysError(ValueError):
    """The file with the keys cannot be used; the message names the line and never what stands there."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its *id* stands in every pseudonym, its *secret* nowhere."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """*keys*: the first is in use; with the others pseudonyms of before are looked up."""

    keys: tuple[Key, ...]

    def of(self, naming: Naming, tenant: str, name: str) -> str:
        """Return the pseudonym of *name*, which is one of *tenant*'s: `p:KEY_ID:22 characters`."""
        return _pseudonym(self.keys[0], naming, tenant, name)

    def ever_of(self, naming: Naming, tenant: str, name: str) -> dict[str, str]:
        """Return its pseudonyms by the id of each key, the one in use first."""
        return {key.id: _pseudonym(key, naming, tenant, name) for key in self.keys}

    def leaving(self, message: Message) -> Message:
        """Return *message* as it may leave: the same where its topic keeps names."""
        topic, key, value = message
        if topic not in KEYED_TOPICS:
            return message
        fields: dict[str, Any] = from_json(value)
        if topic == DEAD_LETTERS:
            kept = {name: item for name, item in fields.items() if name not in WITHHELD}
            return Message(topic, None, encode(kept))
        return Message(topic, key, encode(self._keyed(fields, fields.get("tenant") or _tenant_of(fields))))

    def _keyed(self, value: Any, tenant: str) -> Any:
        if isinstance(value, list):
            return [self._keyed(item, tenant) for item in value]
        if not isinstance(value, dict):
            return value
        by_key = {name: self._member(name, item, tenant) for name, item in value.items()}
        for name, naming in NAMING_OBJECTS.items():
            if isinstance(inner := by_key.get(name), dict) and isinstance(inner.get("uid"), str):
                by_key[name] = {**inner, "uid": self.of(naming, tenant, inner["uid"])}
        return by_key

    def _member(self, name: str, value: Any, tenant: str) -> Any:
        naming = NAMING.get(name)
        if naming is None or not isinstance(value, str):
            return self._keyed(value, tenant)
        return self.of(naming, tenant, value)


def _tenant_of(finding: Mapping[str, Any]) -> str:
    """Whose an OCSF finding is."""
    return str(finding.get("unmapped", {}).get("tenant") or DEFAULT_TENANT)


def _pseudonym(key: Key, naming: Naming, tenant: str, name: str) -> str:
    # No UTF-8 holds this byte, so that no two of the three can be taken for one another.
    payload = b"\xff".join(part.encode() for part in (naming, tenant, name))
    digest = hmac.digest(key.secret, payload, "sha256")[:KEPT_BYTES]
    return f"p:{key.id}:{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def read_keys(path: Path) -> Pseudonyms:
    """Read the keys in *path*: a line each, id and secret, the one in use first; `#` begins a comment.

    Raises `BadKeysError`, or `OSError` where it cannot be read.
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
        raise BadKeysError(f"{where}: the secret is too short; take {MIN_SECRET_BYTES} characters or more, by chance")
    return Key(key_id, secret.encode())


class _PseudonymizingProcessor:
    """A stage whose messages leave by way of *pseudonyms*; its state, and what it knows, keeps names."""

    def __init__(self, stage: Processor, pseudonyms: Pseudonyms) -> None:
        self._stage = stage
        self._leaving: Callable[[Message], Message] = pseudonyms.leaving

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        return self._left(self._stage.process(topic, records, now_ms))

    def on_timer(self, now_ms: int) -> Outcome:
        return self._left(self._stage.on_timer(now_ms))

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        self._stage.restore(rows)

    def on_restored(self) -> None:
        self._stage.on_restored()

    def _left(self, outcome: Outcome) -> Outcome:
        return replace(outcome, messages=list(map(self._leaving, outcome.messages)))


def with_pseudonyms(kinds: Iterable[ProcessorSpec], pseudonyms: Pseudonyms | None) -> tuple[ProcessorSpec, ...]:
    """Return *kinds* with *pseudonyms* in what leaves them; without, the same."""
    if pseudonyms is None:
        return tuple(kinds)
    return tuple(replace(kind, create=partial(_create, kind, pseudonyms)) for kind in kinds)


def _create(kind: ProcessorSpec, pseudonyms: Pseudonyms, partition: int) -> Processor:
    return _PseudonymizingProcessor(kind.create(partition), pseudonyms)
