"""The one door between bytes and messages: records to plain dicts, a chunk at a time, and messages to bytes.

Whatever arrives, nothing is raised: a record is an event, or it is rejected with a reason, each on its own.
Records are never joined into one JSON text. That would let a malformed one reach into its neighbours, and
buys nothing: measured on 512 calls of 540 bytes, joined costs what one by one costs, the guard comes on top.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from pydantic_core import ValidationError, to_json

from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits, Mended, Plain, Rejected, without
from schemas.events import Event
from schemas.members import Message
from schemas.mending import Mender
from schemas.plain import plain_validator
from schemas.refusal import refusal
from schemas.tenancy import Tenants, of_own_tenant
from schemas.topics import TOPICS


class ChunkDecoder:
    """Decodes records of one *model*, whose record key is the UTF-8 of member *key* (dotted if nested).

    *topic*: where they flow, for the limit of their clock; see `Limits.ahead_ms`.
    """

    def __init__(self, model: type[Message], key: str | None = None, topic: str = "") -> None:
        validator = plain_validator(model)
        self._validate = validator.validate_json
        self._mender = Mender(model, validator) if issubclass(model, Event) else None
        self._key = key
        self._topic = topic
        self._key_of = None if key is None else _member_of(key)
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
        """Decode records that belong together by index: *values* and *keys*, as Kafka gave them.

        *keys* of `None`: the records come from a file, which keeps none. *tenants*: what their headers say;
        `None`: the events' own word is taken. Raises `ValueError`, and only for lists of unequal length.
        """
        if keys is not None and len(values) != len(keys):
            raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
        decoded = self._read(values, limits.max_bytes)
        if self._key_of is not None and keys is not None:
            decoded = self._with_own_key(decoded, keys, self._key_of)
        if tenants is not None:
            decoded = of_own_tenant(decoded, tenants, itemgetter("tenant"))
        if self._has_clock:
            decoded = _not_after(decoded, now_ms, limits.ahead_ms(self._topic), itemgetter("occurred_at"))
        decoded.rejected.sort()
        return decoded

    def whole(self, value: bytes) -> Plain:
        """The event of a record that was found good before."""
        event: Plain = self._validate(value)
        return event

    def _mend(self, value: bytes, error: ValidationError) -> tuple[Plain, tuple[str, ...]] | None:
        return None if self._mender is None else self._mender.mend(value, error)

    def _read(self, values: Sequence[bytes | None], max_bytes: int) -> Decoded[Any]:
        events: list[Plain] = []
        places: list[int] = []
        rejected: list[Rejected] = []
        mended: list[Mended] = []
        for index, value in enumerate(values):
            if not value:
                rejected.append(Rejected(index, "empty value"))
            elif len(value) > max_bytes:
                rejected.append(Rejected(index, f"value of {len(value)} bytes, at most {max_bytes} are read"))
            else:
                try:
                    events.append(self._validate(value))
                except ValidationError as error:
                    found = self._mend(value, error)
                    if found is None:
                        rejected.append(Rejected(index, refusal(error)))
                        continue
                    events.append(found[0])
                    mended.append(Mended(index, found[1]))
                places.append(index)
        return Decoded(events, places, rejected, mended)

    def _with_own_key(
        self, decoded: Decoded[Any], keys: Sequence[bytes | None], key_of: Callable[[Any], str]
    ) -> Decoded[Any]:
        """Reject what lies under another key: it sits in a partition where its session does not live."""
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
    """Decode records of *topic* (a name in `TOPICS`); *now_ms* is our clock, for events of the future.

    See `ChunkDecoder.decode`.
    """
    return decoder(topic).decode(values, keys, now_ms=now_ms, limits=limits, tenants=tenants)


@cache
def decoder(topic: str) -> ChunkDecoder:
    """The decoder of a topic, made once. Raises `KeyError` for a name that is not in `TOPICS`."""
    row = TOPICS[topic]
    return ChunkDecoder(row.model, row.key, topic)


def record_key(topic: str, message: Plain) -> bytes:
    """The key under which *message* belongs on *topic*. Raises `KeyError` if it lacks the member."""
    path = TOPICS[topic].key
    if path is None:
        raise ValueError(f"{topic} has no key of its own: a dead letter keeps the key of its record")
    return _member_of(path)(message).encode()


_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(message: Message | Mapping[str, Any]) -> bytes:
    """A message as compact UTF-8 JSON: members in their own order, those that are `None` left out.

    Raises `ValueError` for NaN, infinity and lone surrogates, which no JSON reader has to accept.
    """
    members = message.model_dump() if isinstance(message, Message) else message
    known = {name: value for name, value in members.items() if value is not None}
    text = to_json(known)
    # What is not to be said, or only a word in a text: rare, so it is looked for afterwards.
    if b"null" in text or b"NaN" in text or b"Infinity" in text:
        return _write(_known(known)).encode()
    return text


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    return value


def _member_of(path: str) -> Callable[[Plain], str]:
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
