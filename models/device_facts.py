"""What the contexts told a session: its device's posture and silence, its principal's habits, its network."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import SOURCE, Batch, Kind
from models.context_columns import ATTESTATIONS, KNOWN_FLAGS, MALWARE, POSTURE_FLAGS
from models.rolling import Bools, Ints, Segments, largest_so_far, last_where
from models.signals import bits_of
from models.state import Rows

Facts = dict[str, NDArray[Any]]
_UNATTESTED: Final = np.array([name in ("none", "virtual", "failed") for name in ATTESTATIONS])
_SPEAKS_AGAINST: Final = {
    "managed": False, "compliant": False, "rooted": True, "emulator": True, "hooked": True, "debugger": True,
    "screen_lock": False, "encrypted": False, "app_signature_valid": False,
}  # fmt: skip
_FAULT_BITS: Final = np.array([3 << 2 * POSTURE_FLAGS.index(name) for name in _SPEAKS_AGAINST], np.uint32)
_FAULTS: Final = np.array(
    [(3 if bad else 1) << 2 * POSTURE_FLAGS.index(name) for name, bad in _SPEAKS_AGAINST.items()], np.uint32
)
_MALWARE_SHIFT: Final = np.uint32(2 * len(POSTURE_FLAGS))


def flag(bits: NDArray[Any], name: str, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - a rule reads so
    """Whether the posture fact *name* is known to be *value*; unknown is neither true nor false."""
    return _known_as(bits, POSTURE_FLAGS.index(name), value)


def malware(bits: NDArray[Any], state: str) -> NDArray[np.bool_]:
    """Whether the device's newest malware report is *state*."""
    answer: NDArray[np.bool_] = (bits >> _MALWARE_SHIFT) == MALWARE[state]
    return answer


def known(bits: NDArray[Any], name: str, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - as above
    """Whether the principal context said that *name* is *value*."""
    return _known_as(bits, KNOWN_FLAGS.index(name), value)


def _known_as(bits: NDArray[Any], index: int, value: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - as above
    kind = bits.dtype.type
    answer: NDArray[np.bool_] = (bits & kind(3 << 2 * index)) == kind((3 if value else 1) << 2 * index)
    return answer


def follow_device(batch: Batch, seg: Segments, at: Ints, bound: Bools, before: Rows, after: Rows) -> Facts:
    """Posture, attestation and silence after each event; newest telemetry wins.

    *bound* tells of each event whether its session is known to live on a device, ``(n,)``.
    """
    names = ("posture", "attestation", "interval_ms", "heard_at", "attested_at")
    told: Facts = {name: before[name][seg.of] for name in names}
    if batch.kind is Kind.CONTEXT:
        spoke = batch.columns["source"][seg.order] == SOURCE["device"]
        heard = np.where(spoke, batch.columns["heard_at"][seg.order], 0)
        told["heard_at"] = largest_so_far(heard, before["heard_at"], seg)
        newest = spoke & (heard == told["heard_at"])
        where = last_where(newest, seg)
        for name in ("posture", "attestation", "interval_ms"):
            told[name] = np.where(where >= 0, batch.columns[name][seg.order][where], told[name])
        attested = np.where(newest, batch.columns["attested_at"][seg.order], 0)
        told["attested_at"] = largest_so_far(attested, before["attested_at"], seg)
        for name in names:
            after[name] = told[name][seg.lasts]
    return told | _device_facts(told, at, bound)


def _device_facts(told: Facts, at: Ints, bound: Bools) -> Facts:
    promised = bound & (told["interval_ms"] > 0) & (told["heard_at"] > 0)
    silence = np.maximum(at - told["heard_at"], 0)
    attested = told["attested_at"] > 0
    faults = ((told["posture"][:, None] & _FAULT_BITS) == _FAULTS).sum(axis=1, dtype=np.float64)
    return {
        "telemetry_gap": np.where(promised, silence / np.maximum(told["interval_ms"], 1), 0.0),
        "attested": attested,
        "attestation_age": np.where(bound & attested, np.maximum(at - told["attested_at"], 0), 0.0),
        "unattested": bound & (~attested | _UNATTESTED[told["attestation"]]),
        "posture_faults": faults + malware(told["posture"], "detected"),
    }


def follow_principal(batch: Batch, seg: Segments, before: Rows, after: Rows) -> Facts:
    """What the principal context last said of who a session is: the last to arrive wins.

    There is one writer in one partition. What it says between, of habits only, leaves this as it was.
    """
    names = ("known", "novelty", "elsewhere_kmh", "sessions_seen", "concurrent")
    told: Facts = {name: before[name][seg.of] for name in names}
    told["answered"] = np.zeros(len(batch), np.bool_)
    if batch.kind is Kind.CONTEXT:
        principal = batch.columns["source"][seg.order] == SOURCE["principal"]
        told["answered"] = principal & batch.columns["introduced"][seg.order]
        where = last_where(told["answered"], seg)
        for name in names:
            told[name] = np.where(where >= 0, batch.columns[name][seg.order][where], told[name])
            after[name] = told[name][seg.lasts]
    return told


def follow_network(batch: Batch, seg: Segments, before: Rows, after: Rows) -> Facts:
    """How many others the network context last spoke of."""
    told = before["network_principals"][seg.of]
    if batch.kind is Kind.CONTEXT:
        spoke = batch.columns["source"][seg.order] == SOURCE["network"]
        where = last_where(spoke, seg)
        told = np.where(where >= 0, batch.columns["network_principals"][seg.order][where], told)
        after["network_principals"] = told[seg.lasts]
    return {"network_principals": told}


_SIGNALS_OF: Final = [(number, np.uint64(bits_of(source))) for source, number in SOURCE.items()]


def follow_signals(batch: Batch, seg: Segments, before: Rows, after: Rows) -> Facts:
    """The signals that hold after each event: of each context, what it last said."""
    held = before["signals"][seg.of]
    if batch.kind is Kind.CONTEXT:
        said, speaks, source = (batch.columns[name][seg.order] for name in ("signals", "signalled", "source"))
        for number, bits in _SIGNALS_OF:
            if bits:
                where = last_where(speaks & (source == number), seg)
                held = np.where(where >= 0, said[where] & bits | held & ~bits, held)
        after["signals"] = held[seg.lasts]
    return {"signals": held}
