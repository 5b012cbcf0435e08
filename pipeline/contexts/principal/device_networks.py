"""Where a principal's devices say they are: a network that a session moved to together with its device.

An agent reports from a new network within seconds, a browser's call from there may come sooner. So where the
session's device tells its networks, nobody is told that one is unknown before the device had time to follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.contexts.principal.known_attributes import networks_of
from pipeline.processing.messages import derived_id, stable_id

WAIT_MS: Final = 30_000
"""So long a device has to follow its session, of event time; then the next sweep says that it did not."""
_AFTER_WAITING: Final = f"~{stable_id('waited')[:12]}"
"""Tells what waited for a device from what was said of the same event at once."""
MOST_PLACES: Final = 8
MOST_WAITING: Final = 8

Answer = tuple[dict[str, Any], dict[str, Any]]
"""The event that is answered, and what is said of who the session is."""


@dataclass(slots=True)
class Devices:
    """*places* maps devices to the names of the network that each was last in, by its own telemetry.

    *waiting* maps sessions to ``[due ms, device, networks, event, what to say]``.
    """

    places: dict[str, list[str]] = field(default_factory=dict)
    waiting: dict[str, list[Any]] = field(default_factory=dict)

    def are_with(self, event: Mapping[str, Any], networks: Sequence[str]) -> bool:
        """Whether the device of *event* says that it is in one of *networks* itself."""
        return bool(set(self.places.get(event["device_id"] or "", ())) & set(networks))

    def wait(self, event: Mapping[str, Any], networks: Sequence[str], answer_fields: dict[str, Any]) -> bool:
        """Whether what is *said* of a moved session must wait for its device; then it is kept.

        A device new to the principal vouches for nobody, and a session that already waits has moved twice.
        """
        session_id, device_id = event["session_id"], event["device_id"] or ""
        moved = event["kind"] == "client_changed" and event["principal_kind"] == "human"
        unknown = answer_fields["known_asn"] is False and answer_fields["known_device"] is True
        if not (moved and unknown and device_id in self.places) or session_id in self.waiting:
            return False
        if len(self.waiting) >= MOST_WAITING:
            return False
        subject = {name: event[name] for name in ("occurred_at", "tenant", "session_id")}
        subject["event_id"] = derived_id(event["event_id"], _AFTER_WAITING)
        due = event["occurred_at"] + WAIT_MS
        self.waiting[session_id] = [due, device_id, list(networks), subject, dict(answer_fields)]
        return True

    def moved(self, event: Mapping[str, Any]) -> Iterator[Answer]:
        """A device reports from another network; what waited for it to be there is said."""
        networks = networks_of(event["ip"], event["asn"])
        if not networks or event["device_id"] is None:
            return
        self.places.pop(event["device_id"], None)
        self.places[event["device_id"]] = networks
        if len(self.places) > MOST_PLACES:
            del self.places[next(iter(self.places))]
        for session_id, (_, device_id, wanted, subject, messages) in list(self.waiting.items()):
            if device_id == event["device_id"] and set(wanted) & set(networks):
                del self.waiting[session_id]
                yield subject, messages | {"known_asn": True}

    def overdue(self, at: int) -> Iterator[Answer]:
        """What waited in vain until *at*, ms."""
        for session_id, (due, _, _, subject, messages) in list(self.waiting.items()):
            if due <= at:
                del self.waiting[session_id]
                yield subject, messages
