"""A simulated world, sorted by session, device and principal, and slow ways to count in it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from math import asin, cos, radians, sin, sqrt
from operator import itemgetter
from typing import Any

from pipeline.offline.simulation import Simulation
from pipeline.sources.ground_truth import Truth

Event = dict[str, Any]
MINUTE = 60_000
by_time = itemgetter("occurred_at")


@dataclass
class World:
    """Everything that was simulated, by session, by device and by principal; in event-time order."""

    truth: dict[str, Truth] = field(default_factory=dict)
    sessions: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    devices: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    principals: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    strikes: list[str] = field(default_factory=list)

    def last_report(self, event: Event) -> Event | None:
        """The newest telemetry of the event's device, as of the event."""
        events = self.devices.get(event.get("device_id", ""), [])
        index = bisect_right(events, event["occurred_at"], key=by_time)
        return events[index - 1] if index else None

    def of(self, family: str) -> list[list[Event]]:
        """The sessions of a family, each with all its events."""
        return [self.sessions[row.session_id] for row in self.truth.values() if row.family == family]


def world_of(simulation: Simulation) -> World:
    """Let *simulation* happen and sort what it was."""
    world = World()
    for topic, event in simulation:
        if topic == "device-telemetry":
            world.devices[event["device_id"]].append(event)
        else:
            world.sessions[event["session_id"]].append(event)
            world.principals[event["principal_id"]].append(event)
            if event.get("action") == "sign_in_failed":
                world.failures[event["asn"]].append(event)
    world.truth = {row.session_id: row for row in simulation.truth}
    world.strikes = [attempt.family for attempt in simulation.attempts]
    return world


def calls(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"] == "api.call"]


def most_within(window: int, weighted: list[tuple[int, int]]) -> int:
    most = total = first = 0
    for at, weight in weighted:
        total += weight
        while weighted[first][0] <= at - window:
            total -= weighted[first][1]
            first += 1
        most = max(most, total)
    return most


def records(events: list[Event]) -> int:
    sensitive = [call for call in calls(events) if call["sensitivity"] in {"confidential", "restricted"}]
    return most_within(10 * MINUTE, [(event["occurred_at"], event["records"]) for event in sensitive])


def km(a: Event, b: Event) -> float:
    lat1, lat2 = radians(a["latitude"]), radians(b["latitude"])
    angle = radians(b["longitude"] - a["longitude"])
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin(angle / 2) ** 2
    return 2 * 6371 * asin(sqrt(half))
