"""API calls, the bulk of all events, read in bulk: as numbers and places of texts, not as a dictionary each.

A dictionary costs more than all else that is done to a call, and few calls are ever looked at as such. What
`models.events.flat_json` does not take for plain goes through the one door of `schemas.decode`, as other events do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

PLACE: Final = {name: place for place, name in enumerate(ApiCall.model_fields)}
"""Which member of a scanned call is which."""
_FORM: Final = form_of(ApiCall)


class Calls(Sequence[ApiCallDict]):
    """Calls of a chunk; one becomes a dictionary when it is asked for.

    Attributes:
        read: those that were read in bulk.
        rows: which of them each call is, ``(n,)``; -1 for one that was not.
        others: what those are, by their place among the calls.
    """

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
        """The id of one, without reading the whole of it."""
        other = self.others.get(index)
        if other is None:
            return str(self.read.spans.text_at(int(self.rows[index]), PLACE["event_id"]))
        return str(other["event_id"])

    def chosen(self, indexes: Sequence[int]) -> Calls:
        """The calls at *indexes*, in that order."""
        others = {place: self.others[index] for place, index in enumerate(indexes) if index in self.others}
        return Calls([self._values[index] for index in indexes], self.read, self.rows[indexes], others)


def read_calls(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    *,
    now_ms: int,
    limits: Limits = DEFAULT_LIMITS,
    tenants: Tenants | None = None,
) -> Decoded[ApiCallDict]:
    """What `schemas.decode.decode_chunk` makes of records of API calls, as :class:`Calls`.

    Raises `ValueError` as it does: compiled code would read beyond the shorter list.
    """
    if len(values) != len(keys):
        raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
    texts = [value or b"" for value in values]
    read = scan(_FORM, texts)
    plain = read.plain & (read.sizes <= limits.max_bytes)
    plain &= equal_texts(read.spans.columns(PLACE["session_id"]), spans_of(keys))
    plain &= read.numbers[:, PLACE["occurred_at"]] <= now_ms + limits.ahead_ms(API_CALLS)
    if tenants is not None:
        vouched = spans_of([named[0] if len(named) == 1 else None for named in tenants])
        plain &= equal_texts(read.spans.columns(PLACE["tenant"]), vouched)
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
    return _together(texts, read, plain, rest, decoded)


def _together(
    texts: Sequence[bytes], read: Scanned, plain: Bools, rest: list[int], decoded: Decoded[ApiCallDict]
) -> Decoded[Any]:
    """One chunk of the *plain* records that were *read*, and of the *rest*, of which *told* is what came."""
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
