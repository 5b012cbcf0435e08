"""Noise of transport and clocks: events late, repeated, incomplete, or with a wrong clock. Seeded.

A late event keeps its event time, but arrives after later events; telemetry has the time of arrival
(``recorded_at``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from pipeline.offline.simulation.plan import SECOND
from pipeline.offline.simulation.world.population import rng_for

TopicEvent = tuple[str, dict[str, Any]]
"""A topic and an event for it."""

OPTIONAL: Final = (
    *("ip", "asn", "country", "latitude", "network_type", "user_agent", "ja4", "token_id"),
    *(
        "bytes_in",
        "bytes_out",
        "records",
        "latency_ms",
        "method",
        "scope",
        "resource",
        "status",
        "sensitivity",
    ),
    *(
        "os_version",
        "patch_level",
        "managed",
        "screen_lock",
        "encrypted",
        "attestation",
        "sim_id",
        "sequence",
    ),
)
"""Fields that a producer may leave out; latitude and longitude are left out together."""
_TELEMETRY: Final = "device.telemetry"


@dataclass(frozen=True, slots=True)
class Noise:
    """Shares of events, and durations in seconds.

    *late* events arrive up to *lateness_s* after they occurred, most of them much earlier. The share *twice* is sent
    twice, the second time late. *incomplete* events lack up to three fields. The clock of a device is wrong by about
    *skew_s* seconds, permanently.
    """

    late: float = 0.02
    lateness_s: float = 8.0
    twice: float = 0.003
    incomplete: float = 0.01
    skew_s: float = 1.5

    def times(self, factor: float) -> Noise:
        """Return *factor* times as much noise; `ValueError` if the factor is out of range."""
        if not 0 <= factor <= MAX_NOISE:
            raise ValueError(f"noise must be between 0 (none) and {MAX_NOISE:g}; 1 is usual, got {factor}")
        return Noise(
            self.late * factor,
            self.lateness_s,
            self.twice * factor,
            self.incomplete * factor,
            self.skew_s * factor,
        )


MAX_NOISE: Final = 20.0
USUAL: Final = Noise()
NONE: Final = Noise(late=0, twice=0, incomplete=0, skew_s=0)


def with_noise(events: Iterator[TopicEvent], noise: Noise, run: str) -> Iterator[TopicEvent]:
    """Yield *events*, which are in event-time order, in order of arrival; *run* seeds the noise."""
    rng = rng_for(run, "noise")
    skews: dict[str, int] = {}
    waiting: list[tuple[int, int, str, dict[str, Any]]] = []
    for number, (topic, fields) in enumerate(events):
        now: int = fields["recorded_at"] if "recorded_at" in fields else fields["occurred_at"]
        while waiting and waiting[0][0] <= now:
            _, _, late_topic, late = heappop(waiting)
            yield late_topic, late
        event = _skewed(fields, noise, skews, run) if fields["type"] == _TELEMETRY else fields
        drawn = rng.random()
        if drawn < noise.incomplete:
            yield topic, _incomplete(event, rng)
            continue
        if drawn > 1 - noise.twice - noise.late:
            due = now + _delay(noise, rng)
            later = event | {"recorded_at": due} if "recorded_at" in event else event
            heappush(waiting, (due, number, topic, later))
            if drawn <= 1 - noise.twice:
                continue
        yield topic, event
    while waiting:
        _, _, late_topic, late = heappop(waiting)
        yield late_topic, late


def _delay(noise: Noise, rng: Random) -> int:
    """Milliseconds between event and arrival: mostly short, at most `lateness_s`."""
    return 1 + int(min(rng.expovariate(4 / noise.lateness_s), noise.lateness_s) * SECOND)


def _skewed(event: dict[str, Any], noise: Noise, skews: dict[str, int], run: str) -> dict[str, Any]:
    device_id = event["device_id"]
    if device_id not in skews:
        skews[device_id] = int(rng_for(run, "clock", device_id).gauss(0, noise.skew_s) * SECOND)
    off = skews[device_id]
    fields = event | {"occurred_at": event["occurred_at"] + off}
    # The attestation is dated by the same clock, so its age is right.
    return fields | {"attested_at": fields["attested_at"] + off} if "attested_at" in fields else fields


def _incomplete(event: dict[str, Any], rng: Random) -> dict[str, Any]:
    missing = set(rng.sample(OPTIONAL, 3))
    if "latitude" in missing:
        missing.add("longitude")
    return {name: value for name, value in event.items() if name not in missing}
