"""Decoder of API calls, the bulk of all events: into numbers and places of texts, without a dictionary per call.

Making a dictionary costs more than the rest of the work on a call, and few calls are ever needed as one. Records that
`models.events.flat_json` does not take as plain are decoded by `schemas.decode`, as other events are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.flat_json import Bools, Scanned, scan
from models.events.flat_json_schema import form_of
from models.events.text_hashing import equal_texts, spans_of
from schemas.decode import decoder
from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits, Rejected, Repaired
from schemas.events import ApiCall
from schemas.records import ApiCallDict
from schemas.tenancy import Tenants
from schemas.topics import API_CALLS

Ints = NDArray[np.int64]

FIELD_INDEX: Final = {name: place for place, name in enumerate(ApiCall.model_fields)}
"""The column of each field in a scanned call."""
_AT: Final = FIELD_INDEX["occurred_at"]
_FORM: Final = form_of(ApiCall)


class Calls(Sequence[ApiCallDict]):
    """Calls of a chunk; a call becomes a dictionary when it is indexed.

    Attributes:
        read: the calls that were read in bulk.
        rows: the row of each call in *read*, ``(n,)``; -1 for a call that was not read in bulk.
        others: the calls that were not read in bulk, by index.
        ahead: the calls that were read ahead of which these are some, if so; then *rows* are their places there.
    """

    ahead: CallsAhead | None = None

    def __init__(self, values: list[bytes], read: Scanned, rows: Ints, others: Mapping[int, ApiCallDict]) -> None:
        self.read = read
        self.rows = rows
        self.others = others
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        other = self.others.get(index)
        return decoder(API_CALLS).whole(self._values[index]) if other is None else other

    def event_id(self, index: int) -> str:
        """Return the id of the call at *index*, without decoding all of it."""
        other = self.others.get(index)
        if other is None:
            return str(self.read.spans.text_at(int(self.rows[index]), FIELD_INDEX["event_id"]))
        return str(other["event_id"])

    def chosen(self, indexes: Sequence[int]) -> Calls:
        """Return the calls at *indexes*, in that order."""
        others = {place: self.others[index] for place, index in enumerate(indexes) if index in self.others}
        return Calls([self._values[index] for index in indexes], self.read, self.rows[indexes], others)


@dataclass(slots=True)
class CallsAhead:
    """Calls that are read together before they are due: a small chunk of them then costs little.

    Attributes:
        calls: those that were read in bulk.
        rows: the place in *calls* of each record, ``(n,)``; -1 for a record that must be decoded on its own.
        batch: that of all *calls*, once :func:`models.events.batch.batch_of_calls` made it.
    """

    calls: Calls
    rows: Ints
    batch: Any = None

    def chunk(self, records: Sequence[int], now_ms: int, limits: Limits) -> Decoded[ApiCallDict] | None:
        """Return what :func:`read_calls` would of the records at the places *records*, which are due at *now_ms*.

        `None` where that must be asked, as one of them is not plain.
        """
        rows = self.rows[list(records)]
        read = self.calls.read
        latest_ms = now_ms + limits.ahead_ms(API_CALLS)
        if rows.min() < 0 or read.sizes[rows].max() > limits.max_bytes or read.numbers[rows, _AT].max() > latest_ms:
            return None
        chosen = self.calls.chosen(rows.tolist())
        chosen.ahead = self
        return Decoded(chosen, list(range(len(records))), [])


def read_ahead(values: Sequence[bytes], keys: Sequence[bytes | None]) -> CallsAhead:
    """Read calls before they are due; `ValueError` unless each value has a key."""
    if len(values) != len(keys):
        raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
    read = scan(_FORM, values)
    plain = read.plain & equal_texts(read.spans.columns(FIELD_INDEX["session_id"]), spans_of(keys))
    texts = [value for value, is_plain in zip(values, plain.tolist(), strict=True) if is_plain]
    calls = Calls(texts, read if plain.all() else read.take(plain), np.arange(len(texts)), {})
    return CallsAhead(calls, np.where(plain, np.cumsum(plain) - 1, -1))


def read_calls(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    *,
    now_ms: int,
    limits: Limits = DEFAULT_LIMITS,
    tenants: Tenants | None = None,
) -> Decoded[ApiCallDict]:
    """Decode records of API calls as `schemas.decode.decode_chunk` does, into :class:`Calls`.

    Raises `ValueError` as it does: compiled code would read beyond the shorter list.
    """
    if len(values) != len(keys):
        raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
    texts = [value or b"" for value in values]
    read = scan(_FORM, texts)
    plain = read.plain & (read.sizes <= limits.max_bytes)
    plain &= equal_texts(read.spans.columns(FIELD_INDEX["session_id"]), spans_of(keys))
    plain &= read.numbers[:, FIELD_INDEX["occurred_at"]] <= now_ms + limits.ahead_ms(API_CALLS)
    if tenants is not None:
        header_tenants = spans_of([named[0] if len(named) == 1 else None for named in tenants])
        plain &= equal_texts(read.spans.columns(FIELD_INDEX["tenant"]), header_tenants)
    if plain.all():
        return Decoded(Calls(texts, read, np.arange(len(texts)), {}), list(range(len(texts))), [])
    rest = np.flatnonzero(~plain).tolist()
    decoded = decoder(API_CALLS).decode(
        [values[at] for at in rest],
        [keys[at] for at in rest],
        now_ms=now_ms,
        limits=limits,
        tenants=None if tenants is None else [tenants[at] for at in rest],
    )
    return _merged(texts, read, plain, rest, decoded)


def _merged(
    texts: Sequence[bytes], read: Scanned, plain: Bools, rest: list[int], decoded: Decoded[ApiCallDict]
) -> Decoded[Any]:
    """Merge the *plain* records that were *read* with the *rest*, which were *decoded* one by one."""
    events = {rest[place]: event for place, event in zip(decoded.places, decoded.events, strict=True)}
    places = sorted([*np.flatnonzero(plain).tolist(), *events])
    others = {index: events[place] for index, place in enumerate(places) if place in events}
    rows = np.where(plain, np.cumsum(plain) - 1, -1)[places]
    return Decoded(
        Calls([texts[place] for place in places], read.take(plain), rows, others),
        places,
        [Rejected(rest[rejected.index], rejected.reason) for rejected in decoded.rejected],
        [Repaired(rest[repair.index], repair.fields) for repair in decoded.repaired],
    )
