"""A chunk of decoded events as arrays: what the fold is given.

An event becomes a record for each thing it tells of (:class:`ByKind`); what it does not carry is 0 there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.api_calls import Calls
from models.events.context_columns import CONTEXT_FIELDS

Event = Mapping[str, Any]
"""A decoded record of any topic that is scored; by topic, its fields are in `schemas.records`."""
Ints = NDArray[np.int64]
Structs = NDArray[Any]
"""Records of one of the types below."""


class Kind(IntEnum):
    """What sort of event a line of the chunk is."""

    TICK = 0
    AUTH = 1
    CALL = 2
    CONTEXT = 3
    VERDICT = 4


CLIENT: Final = ("network", "prefix", "ua", "family", "ja4", "token", "key", "device")
"""Fingerprints of the client, in the order of a row's ``client``; the network is its number."""
NETWORK, PREFIX, UA, FAMILY, JA4, TOKEN, KEY, DEVICE = range(len(CLIENT))
IDENTITY: Final = np.dtype(
    [
        ("key", "<u8"),
        ("address", "<u8"),
        ("client", "<u4", (len(CLIENT),)),
        ("country", "<u4"),
        ("kind", "u1"),
        ("network_type", "u1"),
        ("software", "u1"),
    ]
)
"""What the strings of an event say of session and client, as numbers; the same for hours, so remembered."""
ACTIVITY: Final = np.dtype(
    [
        ("operation", "<u8"),
        ("tool", "<u8"),
        ("called", "<u4"),
        ("stage", "u1"),
        ("sensitive", "?"),
        ("guarded", "?"),
        ("writing", "?"),
    ]
)
"""What an API call does, as numbers; *called* is the operation by its name alone, as roles know it."""
CLIENT_FIELDS: Final = np.dtype([("identity", IDENTITY), ("place", "<f4", (2,))])
"""What auth events and API calls tell of who is there; the place is NaN where it is not known."""
CALL_FIELDS: Final = np.dtype(
    [
        ("act", ACTIVITY),
        ("resource", "<u8"),
        ("bytes_out", "<f8"),
        ("records", "<f8"),
        ("failed", "?"),
        ("denied", "?"),
        ("refused", "?"),
    ]
)
"""What an API call did, and how it was answered."""
AUTH_FIELDS: Final = np.dtype([("action", "i1"), ("by_sim", "?"), ("powerful", "?")])
VERDICT_FIELDS: Final = np.dtype([("confirmed", "?")])


class FieldsByKind(NamedTuple):
    """What the events of a chunk tell, ``(n,)`` each, or ``(0,)`` for what their kind does not tell."""

    client: Structs
    auth: Structs
    call: Structs
    context: Structs
    verdict: Structs


NOTHING: Final = FieldsByKind(
    *(np.zeros(0, kind) for kind in (CLIENT_FIELDS, AUTH_FIELDS, CALL_FIELDS, CONTEXT_FIELDS, VERDICT_FIELDS))
)


@dataclass(slots=True)
class Batch:
    """One chunk as columns; all of one kind."""

    events: Sequence[Event]
    kind: Kind
    keys: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    at: NDArray[np.int64]
    fields: FieldsByKind = NOTHING

    def __len__(self) -> int:
        return len(self.events)

    def event_id(self, place: int) -> str:
        """The id of the event at *place* in order of arrival, without reading the whole of it again."""
        events = self.events
        return events.event_id(place) if isinstance(events, Calls) else str(events[place]["event_id"])

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """The same batch with only the *chosen* events, in that order."""
        indexes = chosen.tolist()
        if isinstance(self.events, Calls):
            events: Sequence[Event] = self.events.chosen(indexes)
        else:
            events = [self.events[index] for index in indexes]
        fields_by_kind = FieldsByKind(*(part[chosen] if part.size else part for part in self.fields))
        return Batch(events, self.kind, self.keys[chosen], self.ids[chosen], self.at[chosen], fields_by_kind)


def merged(events: Sequence[Event], parts: Sequence[tuple[Ints, Batch]]) -> Batch:
    """One batch of all *events* from those of parts of them, and the places that each part has among them."""
    first = parts[0][1]
    n, fields_by_kind = (
        len(events),
        FieldsByKind(*(np.zeros(len(events) if p.size else 0, p.dtype) for p in parts[-1][1].fields)),
    )
    batch = Batch(
        events,
        first.kind,
        np.empty(n, np.uint64),
        np.empty(n, np.uint64),
        np.empty(n, np.int64),
        fields_by_kind,
    )
    for places, part in parts:
        batch.keys[places], batch.ids[places], batch.at[places] = part.keys, part.ids, part.at
        for column, values in zip(batch.fields, part.fields, strict=True):
            if values.size:
                column[places] = values
    return batch
