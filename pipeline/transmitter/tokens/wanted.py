"""Whether a stream wants to hear of a happening: by its status, the events it asked for, and its tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pipeline.transmitter.records import Happening, Stream
from pipeline.transmitter.vocabulary import EVENTS, SUPPORTED

Unwanted = Literal["status", "event", "tenant"]
"""Why a stream is not told: it is disabled, did not ask for such events, or is another tenant's."""

_MOST_NAMED: Final = 20


def events_delivered(stream: Stream) -> tuple[str, ...]:
    """`events_delivered` of SSF 1.0 §8.1.1: what is supported and was asked for; unknown ones are ignored."""
    if stream.events_requested is None:
        return SUPPORTED
    asked = frozenset(stream.events_requested)
    return tuple(uri for uri in SUPPORTED if uri in asked)


def unwanted(stream: Stream, happening: Happening, *, tenancy: bool = False) -> Unwanted | None:
    """Why *stream* is not to hear of *happening*, before its subject is looked at; `None`: it is.

    A stream without a tenant hears of every one, but with *tenancy*, where tenants are strangers: of none. A
    paused stream hears of it later (SSF 1.0 §8.1.2.1): that is the queue's business.
    """
    if stream.status == "disabled":
        return "status"
    uri = EVENTS[happening.event].uri
    if stream.events_requested is not None and uri not in stream.events_requested:
        return "event"
    if stream.tenant != happening.who.tenant and (tenancy or stream.tenant is not None):
        return "tenant"
    return None


def told_of_nothing(stream_ids: Sequence[str]) -> str:
    """The warning, with tenancy on, that the streams *stream_ids* have no tenant."""
    more = len(stream_ids) - _MOST_NAMED
    named = ", ".join(stream_ids[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"with SESSION_RISK_TENANCY a stream without a tenant is told of nothing: {named}. Give its receiver "
        "one with `session-risk transmitter clients tenant`, or write `tenant` where it is declared"
    )
