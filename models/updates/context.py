"""Update of a session from its contexts: device posture and silence, the principal's baseline, the network."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.context_columns import ATTESTATIONS, KNOWN_FLAGS, MALWARE, POSTURE_FLAGS, SOURCE
from models.events.context_signals import bits_of
from models.features.volumes import BASELINE, STEPS, VOLUMES
from models.jit import compiled
from models.updates.activity import whole_seconds

_DEVICE, _PRINCIPAL, _NETWORK = SOURCE["device"], SOURCE["principal"], SOURCE["network"]
_UNATTESTED: Final = np.array([name in ("none", "virtual", "failed") for name in ATTESTATIONS])
_FAULTY_VALUE: Final = {
    "managed": False,
    "compliant": False,
    "rooted": True,
    "emulator": True,
    "hooked": True,
    "debugger": True,
    "screen_lock": False,
    "encrypted": False,
    "app_signature_valid": False,
}
_FAULT_BITS: Final = np.array([3 << 2 * POSTURE_FLAGS.index(name) for name in _FAULTY_VALUE], np.uint32)
_FAULTS: Final = np.array(
    [(3 if bad else 1) << 2 * POSTURE_FLAGS.index(name) for name, bad in _FAULTY_VALUE.items()], np.uint32
)
_MALWARE_SHIFT: Final = np.uint32(2 * len(POSTURE_FLAGS))
_DETECTED: Final = MALWARE["detected"]
_SIGNALS_OF: Final = np.zeros(max(SOURCE.values()) + 1, np.uint64)
for _source, _number in SOURCE.items():
    _SIGNALS_OF[_number] = bits_of(_source)
_VOLUMES: Final = len(VOLUMES)
AWAKE_INTERVALS: Final = 1.5
"""Heartbeat intervals for which a device that is awake may be silent."""

CONTEXT_FACTS: Final = np.dtype(
    [
        ("posture", "<u4"),
        ("attestation", "u1"),
        ("interval_ms", "<u4"),
        ("heard_at", "<i8"),
        ("attested_at", "<i8"),
        ("attested", "?"),
        ("unattested", "?"),
        ("telemetry_gap", "<f8"),  # silence of the device, in intervals it promised
        ("silence_in_use", "<f8"),  # the same when the session was last used
        ("attestation_age", "<f8"),  # ms
        ("posture_faults", "<f8"),
        ("answered", "?"),  # the principal context identified the session
        ("known", "u1"),
        ("novelty", "<f8"),
        ("elsewhere_kmh", "<u2"),
        ("sessions_seen", "<u2"),
        ("concurrent", "<u2"),
        ("network_principals", "<u2"),
        ("signals", "<u8"),
        ("hour_share", "<f8"),
        *((name, "u1") for name in BASELINE if name != "hour_share"),
        ("usual", "<f8", (len(VOLUMES),)),  # in the units of the sums
    ]
)
"""What a session knows of its contexts after an event."""


def flag(bits: NDArray[Any], name: str, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - a rule reads so
    """Whether the posture fact *name* is known to be *value*; unknown is neither true nor false."""
    return _known_as(bits, POSTURE_FLAGS.index(name), value)


def malware(bits: NDArray[Any], state: str) -> NDArray[np.bool_]:
    """Whether the device's newest malware report is *state*."""
    answer: NDArray[np.bool_] = (bits >> _MALWARE_SHIFT) == MALWARE[state]
    return answer


def known(bits: NDArray[Any], name: str, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - as above
    """Whether the principal context reported that *name* is *value*."""
    return _known_as(bits, KNOWN_FLAGS.index(name), value)


def _known_as(bits: NDArray[Any], index: int, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - as above
    kind = bits.dtype.type
    answer: NDArray[np.bool_] = (bits & kind(3 << 2 * index)) == kind((3 if value else 1) << 2 * index)
    return answer


@compiled
def apply_context(row: Any, fields: Any) -> bool:
    """Bring *row* up to a message of a context, a record of :data:`models.events.context_columns.CONTEXT_FIELDS`.

    Of a device the newest telemetry wins. Of the others the last to arrive does: each has one writer in one
    partition. Returns whether the principal context identified the session: a message with a baseline only leaves that
    as it was.
    """
    answered = False
    if fields.source == _DEVICE:
        _apply_device(row, fields)
    elif fields.source == _PRINCIPAL:
        answered = fields.introduced
        if answered:
            row.known, row.novelty, row.elsewhere_kmh = fields.known, fields.novelty, fields.elsewhere_kmh
            row.sessions_seen, row.concurrent = fields.sessions_seen, fields.concurrent
        row.days_known, row.hour_share = fields.days_known, fields.hour_share
        row.usual_concurrent = fields.usual_concurrent
        row.strange_sessions, row.strange_networks = fields.strange_sessions, fields.strange_networks
        for number in range(_VOLUMES):
            row.usual[number] = fields.usual[number]
    elif fields.source == _NETWORK:
        row.network_principals = fields.network_principals
    if fields.signalled:
        its = _SIGNALS_OF[fields.source]
        row.signals = fields.signals & its | row.signals & ~its
    return bool(answered)


@compiled
def _apply_device(row: Any, fields: Any) -> None:
    if fields.heard_at < row.heard_at:
        return
    row.heard_at = fields.heard_at
    row.attested_s = max(row.attested_s, whole_seconds(fields.attested_at))
    row.posture, row.attestation, row.interval_ms = fields.posture, fields.attestation, fields.interval_ms


@compiled
def wake(row: Any, at: int) -> None:
    """Restart the count of silence if the session, used at *at*, ms, and its device slept before.

    A device that sleeps with its session sends nothing, and its agent may take one interval to report again. A device
    that was silent already while the session was in use did not sleep.
    """
    slept = row.interval_ms > 0 and row.client_at > 0 and at - row.client_at > row.interval_ms
    reported_to_the_end = row.client_at - row.heard_at <= AWAKE_INTERVALS * row.interval_ms
    if slept and row.heard_at > 0 and reported_to_the_end:
        row.woken_s = whole_seconds(at)


@compiled
def silence(row: Any, at: int) -> float:
    """Heartbeat intervals for which the device has been silent at *at*, ms, while the session was in use."""
    since = max(row.heard_at, np.int64(row.woken_s) * 1000 - row.interval_ms)
    gap: float = max(at - since, 0) / row.interval_ms
    return gap


@compiled
def derive_contexts(row: Any, fact: Any, at: int, bound: bool) -> None:  # noqa: FBT001 - a fact of the event among others
    """What the session knows of its contexts at *at*, ms: record *fact* of :data:`CONTEXT_FACTS`.

    *bound*: whether it is known to live on a device.
    """
    fact.posture, fact.attestation, fact.interval_ms = row.posture, row.attestation, row.interval_ms
    attested_at = np.int64(row.attested_s) * 1000
    fact.heard_at, fact.attested_at, fact.attested = row.heard_at, attested_at, attested_at > 0
    if bound and row.interval_ms > 0 and row.heard_at > 0:
        fact.telemetry_gap = silence(row, at)
        fact.silence_in_use = silence(row, min(at, row.client_at))
    if bound and fact.attested:
        fact.attestation_age = max(at - attested_at, 0)
    fact.unattested = bound and (not fact.attested or _UNATTESTED[row.attestation])
    faults = int(row.posture >> _MALWARE_SHIFT == _DETECTED)
    for number in range(_FAULTS.size):
        faults += row.posture & _FAULT_BITS[number] == _FAULTS[number]
    fact.posture_faults = faults
    fact.known, fact.novelty, fact.elsewhere_kmh = row.known, row.novelty / 1000, row.elsewhere_kmh
    fact.sessions_seen, fact.concurrent = row.sessions_seen, row.concurrent
    fact.network_principals, fact.signals = row.network_principals, row.signals
    fact.days_known, fact.hour_share = row.days_known, row.hour_share / 255.0
    fact.usual_concurrent = row.usual_concurrent
    fact.strange_sessions, fact.strange_networks = row.strange_sessions, row.strange_networks
    for number in range(_VOLUMES):
        fact.usual[number] = STEPS[row.usual[number]]
