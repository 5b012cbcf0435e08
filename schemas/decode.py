"""Decoder and encoder: a chunk of records to plain dicts, and messages to bytes.

Decoding never raises, whatever arrives: each record on its own is an event or is rejected with a reason. Records are
not joined into one JSON text. A malformed record could then affect its neighbours, and it is not faster: for 512 calls
of 540 bytes, one text takes as long as 512, and the protection of the neighbours comes on top.

API calls have a second, faster reader (`models.events.api_calls`), which passes everything unusual on to this one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from pydantic_core import ValidationError, to_json

from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits, Plain, Rejected, Repaired, without
from schemas.events import Event
from schemas.fields import Message
from schemas.plain import plain_validator
from schemas.refusal import refusal
from schemas.repairs import Repairer
from schemas.tenancy import Tenants, reject_wrong_tenants
from schemas.topics import TOPICS


class ChunkDecoder:
    """Decodes records of one *model*, whose record key is the UTF-8 of field *key* (dotted if nested).

    *topic* is where they come from; the limit of their time depends on it (`Limits.ahead_ms`).
    """

    def __init__(self, model: type[Message], key: str | None = None, topic: str = "") -> None:
        validator = plain_validator(model)
        self._validate = validator.validate_json
        self._repairer = Repairer(model, validator) if issubclass(model, Event) else None
        self._key = key
        self._topic = topic
        self._key_of = None if key is None else _getter(key)
        self._has_clock = "occurred_at" in model.model_fields

    def decode(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None,
        *,
        now_ms: int,
        limits: Limits = DEFAULT_LIMITS,
        tenants: Tenants | None = None,
    ) -> Decoded[Any]:
        """Decode records: *values* and *keys* by index, as Kafka returns them.

        *keys* is `None` for records from a file, which has none. *tenants* are the tenants in their headers; if it is
        `None`, the tenants in the events are trusted. Raises `ValueError` only for lists of unequal length.
        """
        if keys is not None and len(values) != len(keys):
            raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
        decoded = self._read(values, limits.max_bytes)
        if self._key_of is not None and keys is not None:
            decoded = self._with_own_key(decoded, keys, self._key_of)
        if tenants is not None:
            decoded = reject_wrong_tenants(decoded, tenants, itemgetter("tenant"))
        if self._has_clock:
            decoded = _not_after(decoded, now_ms, limits.ahead_ms(self._topic), itemgetter("occurred_at"))
        decoded.rejected.sort()
        return decoded

    def whole(self, value: bytes) -> Plain:
        """The event of a record that is known to be valid."""
        event: Plain = self._validate(value)
        return event

    def _repair(self, value: bytes, error: ValidationError) -> tuple[Plain, tuple[str, ...]] | None:
        return None if self._repairer is None else self._repairer.repair(value, error)

    def _read(self, values: Sequence[bytes | None], max_bytes: int) -> Decoded[Any]:
        events: list[Plain] = []
        places: list[int] = []
        rejected: list[Rejected] = []
        repaired: list[Repaired] = []
        for index, value in enumerate(values):
            if not value:
                rejected.append(Rejected(index, "empty value"))
            elif len(value) > max_bytes:
                rejected.append(Rejected(index, f"value of {len(value)} bytes, at most {max_bytes} are read"))
            else:
                try:
                    events.append(self._validate(value))
                except ValidationError as error:
                    repair = self._repair(value, error)
                    if repair is None:
                        rejected.append(Rejected(index, refusal(error)))
                        continue
                    events.append(repair[0])
                    repaired.append(Repaired(index, repair[1]))
                places.append(index)
        return Decoded(events, places, rejected, repaired)

    def _with_own_key(
        self, decoded: Decoded[Any], keys: Sequence[bytes | None], key_of: Callable[[Any], str]
    ) -> Decoded[Any]:
        """Reject events under another key: they are in a partition where their session is not."""
        expected = list(map(str.encode, map(key_of, decoded.events)))
        found = [keys[place] for place in decoded.places]
        if expected == found:
            return decoded
        reasons = [
            None if own == key else f"key: must be the event's {self._key}, got {_key_shown(key)}"
            for own, key in zip(expected, found, strict=True)
        ]
        return without(decoded, reasons)


def decode_chunk(
    topic: str,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    *,
    now_ms: int,
    limits: Limits = DEFAULT_LIMITS,
    tenants: Tenants | None = None,
) -> Decoded[Any]:
    """Decode records of *topic* (a name in `TOPICS`); *now_ms* is our clock, to reject events of the future.

    What the events are, by topic, is in `schemas.records`. See `ChunkDecoder.decode`.
    """
    return decoder(topic).decode(values, keys, now_ms=now_ms, limits=limits, tenants=tenants)


@cache
def decoder(topic: str) -> ChunkDecoder:
    """The decoder of a topic. Raises `KeyError` for a name that is not in `TOPICS`."""
    row = TOPICS[topic]
    return ChunkDecoder(row.model, row.key, topic)


def record_key(topic: str, message: Plain) -> bytes:
    """The record key of *message* on *topic*. Raises `KeyError` if the message lacks the field."""
    path = TOPICS[topic].key
    if path is None:
        raise ValueError(f"{topic} has no key of its own: a dead letter has the key of its record")
    return _getter(path)(message).encode()


_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(message: Message | Mapping[str, Any]) -> bytes:
    """A message as compact UTF-8 JSON: fields in their order, those that are `None` left out.

    Raises `ValueError` for NaN, infinity and lone surrogates, which no JSON reader has to accept.
    """
    fields = message.model_dump() if isinstance(message, Message) else message
    known = {name: value for name, value in fields.items() if value is not None}
    text = to_json(known)
    # A value that must not be written, or only the same letters in a string: rare, so it is checked afterwards.
    if b"null" in text or b"NaN" in text or b"Infinity" in text:
        return _write(_known(known)).encode()
    return text


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    return value


def _getter(path: str) -> Callable[[Plain], str]:
    first, *rest = map(itemgetter, path.split("."))
    if not rest:
        return first

    def nested(event: Plain) -> str:
        value = first(event)
        for step in rest:
            value = step(value)
        return str(value)

    return nested


def _not_after(decoded: Decoded[Any], now_ms: int, max_future_ms: int, at_of: Callable[[Any], int]) -> Decoded[Any]:
    times = list(map(at_of, decoded.events))
    latest = now_ms + max_future_ms
    if not times or max(times) <= latest:
        return decoded
    return without(
        decoded,
        [None if at <= latest else f"occurred_at is {(at - now_ms) // 1000} s in the future" for at in times],
    )


def _key_shown(key: bytes | None) -> str:
    return "no key" if key is None else f"another of {len(key)} bytes"
