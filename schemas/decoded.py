"""Result of decoding a chunk of records: its events, the rejected records with reasons, and the limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from schemas.fields import DAY_MS
from schemas.topics import DEVICE_TELEMETRY

E = TypeVar("E")
Plain = dict[str, Any]
"""A decoded record; what it holds, by topic, is in `schemas.records`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits beyond which records are rejected: their bytes, how far in the future they may be (ms), and their tenant.

    Producers are servers with correct clocks. Devices are not: the telemetry of one whose clock is wrong by a time zone
    or by half a day must be accepted all the same, or the device would seem to be silent. With *tenancy* an event must
    belong to the tenant in its record's header (`schemas.tenancy`).
    """

    max_bytes: int = 64 * 1024
    max_future_ms: int = 300_000
    max_device_future_ms: int = DAY_MS
    tenancy: bool = False

    def ahead_ms(self, topic: str) -> int:
        """How far the time of an event of *topic* may be ahead of our clock, ms."""
        if topic == DEVICE_TELEMETRY:
            return max(self.max_future_ms, self.max_device_future_ms)
        return self.max_future_ms


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, order=True)
class Rejected:
    """A rejected record: its index in the input, and the reason in one line of at most 200 characters."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """An event that broke the contract: its index in the input, and the fields that had to be repaired."""

    index: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoded(Generic[E]):
    """A decoded chunk: `events[i]` is record `places[i]` of the input; every other record is in `rejected`.

    `repaired` lists the events that differ from what was sent (`schemas.repairs`).
    """

    events: Sequence[E]
    places: list[int]
    rejected: list[Rejected]
    repaired: list[Repaired] = field(default_factory=list)


def without(decoded: Decoded[E], reasons: list[str | None]) -> Decoded[E]:
    """*decoded* with the events rejected that have a reason in *reasons*."""
    events: list[E] = []
    places: list[int] = []
    rejected: set[int] = set()
    for event, place, reason in zip(decoded.events, decoded.places, reasons, strict=True):
        if reason is None:
            events.append(event)
            places.append(place)
        else:
            decoded.rejected.append(Rejected(place, reason))
            rejected.add(place)
    repaired = [repair for repair in decoded.repaired if repair.index not in rejected]
    return Decoded(events, places, decoded.rejected, repaired)
