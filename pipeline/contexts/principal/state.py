"""State of one principal: everything that the principal context remembers, as the changelog stores it.

Where a field has an alias, that is its name in the changelog, which must not change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field

from models.updates.client import NEAR_CELLULAR_KM
from pipeline.contexts.network_names import as_named_now
from pipeline.contexts.principal.baseline import Baseline
from pipeline.contexts.principal.device_networks import DeviceNetworks
from pipeline.contexts.principal.factors import Factors
from pipeline.contexts.principal.suppressions import Suppressions
from pipeline.contexts.principal.usage import PeerUsage, UsageHistory

KNOWN_ATTRIBUTES: Final = ("device", "asn", "country", "client")
"""The attributes of a session that are compared with what is known of its principal."""


class DeviceFamiliarity(IntEnum):
    """How a session's device stands to its principal."""

    OWN = 0
    """A device of the principal's own."""
    UNFAMILIAR = 1
    """A device that is new, or that another session on an unfamiliar device introduced."""
    CONFIRMED = 2
    """A new device whose own telemetry comes from where its session is used: it is managed."""


class LiveSession(NamedTuple):
    """A live session: since when (ms), its network in short, its device, and the signals about its network."""

    since: int
    network: str
    familiarity: DeviceFamiliarity
    network_signals: list[str]


class KnownValue(NamedTuple):
    """When a value was last seen (ms), and the session from which it was learned; "" if it is settled."""

    last_seen: int
    learned_from: str


class Location(NamedTuple):
    """Where an event was: degrees, ms, session, address prefix, error radius in km, and country.

    The defaults are for locations that a version before stored without radius and country.
    """

    latitude: float
    longitude: float
    at: int
    session_id: str
    prefix: str | None
    radius_km: float = NEAR_CELLULAR_KM
    country: str | None = None


def _all_attributes(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored values of the attributes that this version knows, networks by their present names."""
    known = {name: stored.get(name, {}) for name in KNOWN_ATTRIBUTES}
    return known | {"asn": _networks(known["asn"])}


def _networks(stored: dict[str, Any]) -> dict[str, Any]:
    return {as_named_now(name): value for name, value in stored.items()}


@dataclass(slots=True)
class PrincipalState:
    """A principal; times in ms of event time.

    Attributes:
        seen_at: when the principal was last seen.
        sessions_seen: how many sessions it has had.
        live: its live sessions, the one that began first is first.
        unfamiliar_peak: the most sessions on unfamiliar devices of which all of these were notified.
        known: for each of :data:`KNOWN_ATTRIBUTES`, the known values.
        location: that of the newest event that has one, or nothing.
        factors: changes of its authentication factors.
        suppressions: detections that do not count for it, as false positives.
        anonymisers: how a person hid its network, and the session from which that was learned.
        workload: what kind of workload its credentials were issued for; "" for all others.
        homes: the networks where a workload is at home, and the session from which that was learned; "" if the
            issuer names them.
        revoked: what revoked sessions had taught, by session and attribute: an analyst may trust them again.
        baseline: its usual hours, volumes and concurrent sessions.
        usage: the scopes, operations and tools it uses.
        devices: the networks where its devices are.
        peers: what the principals of the tenant use; only in the record that they share.
    """

    seen_at: int = 0
    sessions_seen: int = 0
    live: dict[str, LiveSession] = field(default_factory=dict)
    unfamiliar_peak: Annotated[int, Field(alias="crowd")] = 0
    known: Annotated[dict[str, dict[str, KnownValue]], Field(alias="habits"), BeforeValidator(_all_attributes)] = field(
        default_factory=lambda: {name: {} for name in KNOWN_ATTRIBUTES}
    )
    location: Annotated[Location | tuple[()], Field(alias="place")] = ()
    factors: Factors = field(default_factory=Factors)
    suppressions: Suppressions = field(default_factory=dict)
    anonymisers: dict[str, str] = field(default_factory=dict)
    workload: str = ""
    homes: Annotated[dict[str, str], BeforeValidator(_networks)] = field(default_factory=dict)
    revoked: Annotated[dict[str, dict[str, list[str]]], Field(alias="doubted")] = field(default_factory=dict)
    baseline: Baseline = field(default_factory=Baseline)
    usage: Annotated[UsageHistory, Field(alias="uses")] = field(default_factory=UsageHistory)
    devices: DeviceNetworks = field(default_factory=DeviceNetworks)
    peers: Annotated[PeerUsage, Field(alias="fashion")] = field(default_factory=PeerUsage)
