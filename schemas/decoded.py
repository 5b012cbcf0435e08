"""What comes of decoding a chunk of records: events, why each other record is none, and what is not taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from schemas.members import DAY_MS
from schemas.topics import DEVICE_TELEMETRY

E = TypeVar("E")
Plain = dict[str, Any]
"""A decoded record; what it holds, by topic, is in `schemas.records`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is not taken: too many bytes, a producer's clock too far ahead of ours, ms, another's tenant.

    Producers are servers and keep time. Devices do not: one whose clock is wrong, by whatever a time zone or
    a wrong half of the day makes of it, must be heard all the same, or it would seem to have fallen silent.
    With *tenancy* an event must be of the tenant that its record's header names (`schemas.tenancy`).
    """

    max_bytes: int = 64 * 1024
    max_future_ms: int = 300_000
    max_device_future_ms: int = DAY_MS
    tenancy: bool = False

    def ahead_ms(self, topic: str) -> int:
        """How far the clock behind events of *topic* may be ahead of ours, ms."""
        if topic == DEVICE_TELEMETRY:
            return max(self.max_future_ms, self.max_device_future_ms)
        return self.max_future_ms


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, order=True)
class Rejected:
    """A record that is no event: its index in the input, and why, on one line of at most 200 characters."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Mended:
    """An event that broke the contract: its index in the input, and which members had to be mended."""

    index: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoded(Generic[E]):
    """A decoded chunk: `events[i]` was record `places[i]` of the input; every other one is in `rejected`.

    `mended`: which of the events are not quite what was said, see `schemas.mending`.
    """

    events: Sequence[E]
    places: list[int]
    rejected: list[Rejected]
    mended: list[Mended] = field(default_factory=list)


def without(decoded: Decoded[E], reasons: list[str | None]) -> Decoded[E]:
    """*decoded* less the events that have a reason not to be there."""
    events: list[E] = []
    places: list[int] = []
    gone: set[int] = set()
    for event, place, reason in zip(decoded.events, decoded.places, reasons, strict=True):
        if reason is None:
            events.append(event)
            places.append(place)
        else:
            decoded.rejected.append(Rejected(place, reason))
            gone.add(place)
    mended = [this_mended for this_mended in decoded.mended if this_mended.index not in gone]
    return Decoded(events, places, decoded.rejected, mended)
