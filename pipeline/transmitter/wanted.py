"""Whether a stream wants to hear of a happening: by its status, events, tenant, and subjects taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pipeline.transmitter.records import Happening, Stream
from pipeline.transmitter.vocabulary import EVENTS, SUPPORTED

Unwanted = Literal["status", "event", "tenant"]
"""Why a stream is not told: it is disabled, did not ask for such events, or is another tenant's."""

_FORMAT: Final = "format"
_COMPLEX: Final = "complex"


def events_delivered(stream: Stream) -> tuple[str, ...]:
    """`events_delivered` of SSF 1.0 §8.1.1: what is supported and was asked for; unknown ones are ignored."""
    if stream.events_requested is None:
        return SUPPORTED
    asked = frozenset(stream.events_requested)
    return tuple(uri for uri in SUPPORTED if uri in asked)


def unwanted(stream: Stream, happening: Happening) -> Unwanted | None:
    """Why *stream* is not to hear of *happening*, before its subject is looked at; `None`: it is.

    A paused stream hears of it later (SSF 1.0 §8.1.2.1): that is the queue's business.
    """
    if stream.status == "disabled":
        return "status"
    uri = EVENTS[happening.event].uri
    if stream.events_requested is not None and uri not in stream.events_requested:
        return "event"
    if stream.tenant not in (None, happening.who.tenant):
        return "tenant"
    return None


def is_excluded(subject: Mapping[str, Any], excluded: Iterable[Mapping[str, Any]]) -> bool:
    """Whether *subject* matches one of those that the receiver took out of the stream."""
    return any(matches(subject, one) for one in excluded)


def matches(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """SSF 1.0 §8.1.3.1: simple subjects are identical; of complex ones every member is, or is in one only.

    The section says nothing of a simple and a complex one. Here they match if a member of the one is the
    other: who takes a user out means all that is told of the user.
    """
    if (one.get(_FORMAT) == _COMPLEX) != (other.get(_FORMAT) == _COMPLEX):
        whole, simple = (one, other) if one.get(_FORMAT) == _COMPLEX else (other, one)
        return any(member == simple for name, member in whole.items() if name != _FORMAT)
    if one.get(_FORMAT) != _COMPLEX:
        return one == other
    return all(one[name] == other[name] for name in one.keys() & other.keys())
