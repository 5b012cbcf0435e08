"""Columns of ``session.context`` messages: device, principal, related sessions and network as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.context_signals import signal_columns
from models.features.volumes import BASELINE, VOLUMES, baseline_columns

SOURCE: Final = {"device": 1, "principal": 2, "lineage": 3, "network": 4, "feedback": 5}
ATTESTATIONS: Final = ("", "none", "basic", "device", "strong", "virtual", "failed", "unevaluated")
ATTESTATION: Final = {name: number for number, name in enumerate(ATTESTATIONS)} | {None: 0}
POSTURE_FLAGS: Final = (
    "managed",
    "compliant",
    "rooted",
    "emulator",
    "hooked",
    "debugger",
    "developer_mode",
    "screen_lock",
    "encrypted",
    "app_signature_valid",
)
MALWARE: Final = {None: 0, "none": 1, "detected": 2, "quarantined": 3}
KNOWN_FLAGS: Final = ("known_device", "known_asn", "known_country", "known_client")
CONTEXT_FIELDS: Final = np.dtype(
    [
        ("signals", "<u8"),
        ("heard_at", "<i8"),
        ("attested_at", "<i8"),
        ("posture", "<u4"),
        ("interval_ms", "<u4"),
        ("novelty", "<u2"),
        ("elsewhere_kmh", "<u2"),
        ("sessions_seen", "<u2"),
        ("concurrent", "<u2"),
        ("network_principals", "<u2"),
        ("source", "u1"),
        ("attestation", "u1"),
        ("known", "u1"),
        ("usual", "u1", (len(VOLUMES),)),
        *((name, "u1") for name in BASELINE),
        ("fallen", "?"),
        ("introduced", "?"),
        ("signalled", "?"),
    ]
)


def context_columns(events: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Return *events* as records of :data:`CONTEXT_FIELDS`, ``(n,)``; 0 for absent fields."""
    values = np.zeros(len(events), CONTEXT_FIELDS)
    values["source"] = [SOURCE[event["source"]] for event in events]
    values["fallen"] = [event["relation"] == "ancestor_revoked" for event in events]
    values["network_principals"] = [min(event.get("network_principals") or 0, 65535) for event in events]
    columns = posture_columns(events) | principal_columns(events)
    columns |= baseline_columns(events) | signal_columns(events)
    for name, column in columns.items():
        values[name] = column
    return values


def posture_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return posture as bits: flag ``i`` known at bit ``2i``, true at bit ``2i + 1``; malware above them."""
    n = len(events)
    bits = np.zeros(n, np.uint32)
    for index, name in enumerate(POSTURE_FLAGS):
        for row, event in enumerate(events):
            if (value := event.get(name)) is not None:
                bits[row] |= (1 << 2 * index) | (int(value) << 2 * index + 1)
    malware = np.array([MALWARE[e.get("malware")] for e in events], np.uint32)
    return {
        "posture": bits | (malware << np.uint32(2 * len(POSTURE_FLAGS))),
        "attestation": np.array([ATTESTATION[e.get("attestation")] for e in events], np.uint8),
        "attested_at": np.array([e.get("attested_at") or 0 for e in events], np.int64),
        "heard_at": np.array([e.get("heard_at") or 0 for e in events], np.int64),
        "interval_ms": np.array([min(e.get("heartbeat_interval_ms") or 0, 0xFFFFFFFF) for e in events], np.uint32),
    }


def principal_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the fields of the principal context: flag ``i`` known at bit ``2i``, true at bit ``2i + 1``."""
    known = np.zeros(len(events), np.uint8)
    for index, name in enumerate(KNOWN_FLAGS):
        for row, event in enumerate(events):
            if (value := event.get(name)) is not None:
                known[row] |= (1 << 2 * index) | (int(value) << 2 * index + 1)
    return {
        "known": known,
        "novelty": np.array([round(1000 * (e.get("novelty") or 0.0)) for e in events], np.uint16),
        "elsewhere_kmh": np.array([round(min(e.get("place_speed_kmh") or 0, 65535)) for e in events], np.uint16),
        "sessions_seen": np.array([min(e.get("sessions_seen") or 0, 65535) for e in events], np.uint16),
        "concurrent": np.array([min(e.get("concurrent_sessions") or 0, 65535) for e in events], np.uint16),
    }
