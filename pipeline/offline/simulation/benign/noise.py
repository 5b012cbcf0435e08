"""What transport and clocks do to events: late, twice, incomplete, seconds off. Seeded, like the rest.

An event keeps the time at which it happened; what is late only arrives after events that happened later, and
telemetry bears when that is (``recorded_at``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from pipeline.offline.simulation.plan import SECOND
from pipeline.offline.simulation.world.population import chance

Told = tuple[str, dict[str, Any]]
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
"""Members that a producer may fail to tell; without its latitude a place has no longitude either."""
_TELEMETRY: Final = "device.telemetry"


@dataclass(frozen=True, slots=True)
class Noise:
    """Shares of events, and seconds.

    *late* events arrive up to *lateness_s* after they happened, most of them much earlier; so many are sent
    *twice*, the second time as late; of *incomplete* ones a member or two is missing. The clock of a device
    is off by about *skew_s* seconds, for good.
    """

    late: float = 0.02
    lateness_s: float = 8.0
    twice: float = 0.003
    incomplete: float = 0.01
    skew_s: float = 1.5

    def times(self, factor: float) -> Noise:
        """Return *factor* times as much of it; `ValueError` if that is less than none, or more than all."""
        if not 0 <= factor <= MOST:
            raise ValueError(f"noise must be between 0 (none) and {MOST:g}; 1 is what is usual, got {factor}")
        return Noise(
            self.late * factor,
            self.lateness_s,
            self.twice * factor,
            self.incomplete * factor,
            self.skew_s * factor,
        )


MOST: Final = 20.0
USUAL: Final = Noise()
NONE: Final = Noise(late=0, twice=0, incomplete=0, skew_s=0)


def disturbed(events: Iterator[Told], noise: Noise, run: str) -> Iterator[Told]:
    """Yield *events* as they arrive, given in the order in which they happened; *run* seeds the noise."""
    rng = chance(run, "noise")
    skews: dict[str, int] = {}
    waiting: list[tuple[int, int, str, dict[str, Any]]] = []
    for number, (topic, fields) in enumerate(events):
        now: int = fields["recorded_at"] if "recorded_at" in fields else fields["occurred_at"]
        while waiting and waiting[0][0] <= now:
            _, _, held_topic, held = heappop(waiting)
            yield held_topic, held
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
        _, _, held_topic, held = heappop(waiting)
        yield held_topic, held


def _delay(noise: Noise, rng: Random) -> int:
    """Milliseconds between happening and arriving: mostly short, never longer than the most."""
    return 1 + int(min(rng.expovariate(4 / noise.lateness_s), noise.lateness_s) * SECOND)


def _skewed(event: dict[str, Any], noise: Noise, skews: dict[str, int], run: str) -> dict[str, Any]:
    device_id = event["device_id"]
    if device_id not in skews:
        skews[device_id] = int(chance(run, "clock", device_id).gauss(0, noise.skew_s) * SECOND)
    off = skews[device_id]
    fields = event | {"occurred_at": event["occurred_at"] + off}
    # The proof is dated by the same clock: off or not, its age is right.
    return fields | {"attested_at": fields["attested_at"] + off} if "attested_at" in fields else fields


def _incomplete(event: dict[str, Any], rng: Random) -> dict[str, Any]:
    missing = set(rng.sample(OPTIONAL, 3))
    if "latitude" in missing:
        missing.add("longitude")
    return {name: value for name, value in event.items() if name not in missing}
