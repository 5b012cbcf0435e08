"""Downgrades of a device's posture: each report compared with the one before, fact by fact.

A device's sessions learn what it is as posture; what became worse on it they learn as signals
(:mod:`models.events.context_signals`), with explanations for analysts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from itertools import zip_longest
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field

from pipeline.contexts.device.rollouts import RolloutTracker
from pipeline.times import HOUR_MS
from schemas.fields import DAY_MS
from schemas.records import DeviceTelemetryDict

CLOCK_TOLERANCE_MS: Final = 120_000
"""With a clock that is off by less, reports and proofs are dated as they say."""
CLOCK_JUMP_MS: Final = 600_000
"""Without network time a clock is off by minutes, and is set right by as many: a smaller jump means nothing."""
STALE_DAYS: Final = 180
"""A device with an older patch level lacks security fixes that exist."""
_ATTESTATION_RANK: Final = {"none": 0, "virtual": 0, "failed": 0, "basic": 1, "device": 2, "strong": 3}
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")
EXCUSES: Final = {
    "rollout": "many of the tenant's devices did the same, as in a rollout",
    "update": "its system was updated just before, and its management has to follow",
}
"""The explanations of what excuses a downgrade."""


class DowngradeState(IntEnum):
    """What became of a downgrade."""

    COUNTS = 0
    EXCUSED = 1
    """Something innocent explains it."""
    OVER = 2
    """The fact is as it was before."""


class Downgrade(NamedTuple):
    """A fact became worse at *at* ms: its value before, what became of the downgrade, and an explanation."""

    at: int
    before: Any
    state: DowngradeState
    text: str


class DeviceReport(DeviceTelemetryDict):
    """Telemetry as the device context handles it: ``occurred_at`` is its arrival, all times are in ms.

    *reported_at* is the time of the report by the device's own clock, *recorded_at* the record's Kafka timestamp, -1 if
    there is none.
    """

    reported_at: int
    recorded_at: int


def _lost(before: Any, now: Any) -> bool:
    return before is True and now is False


def _gained(before: Any, now: Any) -> bool:
    return before is False and now is True


def _attests_less(before: str, now: str) -> bool:
    """Whether a proof by hardware (``device``, ``strong``) became less; ``unevaluated`` means nothing."""
    return _ATTESTATION_RANK.get(before, 0) >= 2 and _ATTESTATION_RANK.get(now, 3) < 2


def is_older(before: str, now: str) -> bool:
    """Whether version *now* is certainly older than version *before*.

    Only versions that two sources would write alike are compared: the same words before the number, and no single
    number with a dotted one.

    >>> is_older("17.5.1", "17.4"), is_older("17.5.1", "17.5"), is_older("11", "10.0.22631")
    (True, False, False)
    """
    old, new = _VERSION.search(before), _VERSION.search(now)
    if not old or not new or before[: old.start()].casefold() != now[: new.start()].casefold():
        return False
    numbers = [match[0].split(".") for match in (old, new)]
    if min(map(len, numbers)) == 1 != max(map(len, numbers)):
        return False
    for old_number, new_number in zip_longest(*numbers):
        if None in (old_number, new_number):
            return False
        if int(old_number) != int(new_number):
            return int(new_number) < int(old_number)
    return False


@dataclass(frozen=True, slots=True)
class WatchedFact:
    """A fact of posture, the *signal* that its downgrade raises for *hold_ms*, and what is *worse*: (before, now)."""

    name: str
    signal: str
    hold_ms: int
    worse: Callable[[Any, Any], bool]


WATCHED: Final[tuple[WatchedFact, ...]] = (
    WatchedFact("managed", "posture_downgraded", HOUR_MS, _lost),
    WatchedFact("compliant", "posture_downgraded", HOUR_MS, _lost),
    WatchedFact("screen_lock", "posture_downgraded", HOUR_MS, _lost),
    WatchedFact("encrypted", "posture_downgraded", HOUR_MS, _lost),
    WatchedFact("developer_mode", "posture_downgraded", HOUR_MS, _gained),
    WatchedFact("debugger", "posture_downgraded", HOUR_MS, _gained),
    WatchedFact("attestation", "attestation_downgraded", DAY_MS, _attests_less),
    WatchedFact("os_version", "os_downgraded", DAY_MS, is_older),
    WatchedFact("patch_level", "os_downgraded", DAY_MS, lambda before, now: bool(now < before)),
    WatchedFact("sim_id", "sim_changed", DAY_MS, lambda before, now: bool(now != before)),
)
FACTS: Final = frozenset(fact.name for fact in WATCHED)
"""The facts that a rollout can change on many devices; a clock is each device's own."""
_CLOCK: Final = "clock"
_SIGNAL_OF: Final = {fact.name: (fact.signal, fact.hold_ms) for fact in WATCHED} | {_CLOCK: ("clock_tampered", HOUR_MS)}
"""The signal that a downgrade raises, and for how long, by fact."""
_SYSTEM_FACTS: Final = frozenset({"os_version", "patch_level"})
_DURING_SESSION: Final = frozenset({"posture_downgraded"})
"""Signals of what happened during a session: one that began later was let in although it was known."""


def _known_facts(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored downgrades of facts that this version watches."""
    return {fact: downgrade for fact, downgrade in stored.items() if fact in _SIGNAL_OF}


@dataclass(slots=True)
class PostureChanges:
    """The downgrades of a device, by fact, and what is needed to recognise more of them.

    *attested* is the newest attestation that was evaluated. *updated_at* (ms, 0: never) is when the version of the
    system last changed and became no older. *clock_ahead* (ms, `None`: not known) is how far the device's clock runs
    ahead of the arrival of its reports, by the report that arrived soonest after it was made.
    """

    downgrades: Annotated[dict[str, Downgrade], Field(alias="fell"), BeforeValidator(_known_facts)] = field(
        default_factory=dict
    )
    attested: str = ""
    updated_at: int = 0
    clock_ahead: int | None = None


def compare(
    changes: PostureChanges,
    rollouts: RolloutTracker,
    posture: Mapping[str, Any],
    reported: Mapping[str, Any],
    event: DeviceReport,
) -> None:
    """Compare the facts *reported* in *event* with the *posture* before; both hold only facts that are known."""
    at, tenant = event["occurred_at"], event["tenant"]
    is_other_system = reported.get("platform", posture.get("platform")) != posture.get("platform")
    if not is_other_system and _is_update(posture, reported):
        changes.updated_at = at
    for fact in WATCHED:
        now = reported.get(fact.name)
        if now is None or now == "unevaluated" or (is_other_system and fact.name in _SYSTEM_FACTS):
            continue
        last = changes.downgrades.get(fact.name)
        before = changes.attested if fact.name == "attestation" else posture.get(fact.name)
        if before is not None and fact.worse(before, now):
            reference = last.before if last and last.state != DowngradeState.OVER else before
            rollouts.add_downgrade(tenant, fact.name, last.at if last else 0, at)
            text = _difference(fact.name, reference, now)
            changes.downgrades[fact.name] = Downgrade(at, reference, DowngradeState.COUNTS, text)
        elif last and not fact.worse(last.before, now):
            changes.downgrades[fact.name] = last._replace(state=DowngradeState.OVER)
        if fact.name == "attestation":
            changes.attested = now


def _is_update(posture: Mapping[str, Any], reported: Mapping[str, Any]) -> bool:
    """Whether the version of the system changed, and no part of it is older."""
    system = [fact for fact in WATCHED if fact.name in _SYSTEM_FACTS and fact.name in posture and fact.name in reported]
    changed = [fact for fact in system if reported[fact.name] != posture[fact.name]]
    return bool(changed) and not any(fact.worse(posture[fact.name], reported[fact.name]) for fact in changed)


def check_clock(changes: PostureChanges, posture: Mapping[str, Any], clock_at: int, event: DeviceReport) -> bool:
    """Whether the device's clock jumped away from the time, or an attestation is dated in the future.

    A clock that is off by the same from the first report on is only wrong, one that is set right is right, and a
    report that is uploaded late contradicts nothing. *clock_at* (ms) is the time of the device's newest report by its
    own clock.
    """
    at, recorded_at = event["reported_at"], event["recorded_at"]
    ahead = at - recorded_at if recorded_at > 0 else None
    is_newer = (event["sequence"] or 0) > posture.get("sequence", 2**63)
    contradiction = _contradiction(changes, clock_at if is_newer else 0, ahead, event)
    if ahead is not None:
        known = None if is_newer and at < clock_at else changes.clock_ahead
        changes.clock_ahead = ahead if known is None else max(ahead, known)
    if contradiction:
        changes.downgrades[_CLOCK] = Downgrade(event["occurred_at"], None, DowngradeState.COUNTS, contradiction)
    return bool(contradiction)


def _contradiction(changes: PostureChanges, before_ms: int, ahead: int | None, event: DeviceReport) -> str:
    """What contradicts the report's time: its arrival, or that of an earlier one, *before_ms*; "" if nothing does."""
    at, known = event["reported_at"], changes.clock_ahead
    proof_ahead = (event["attested_at"] or 0) - max(at, event["recorded_at"])
    if proof_ahead > CLOCK_JUMP_MS:
        return f"attested {_seconds(proof_ahead)} after the report was made"
    if at < before_ms - CLOCK_JUMP_MS and not (ahead is not None and abs(ahead) <= CLOCK_JUMP_MS):
        return f"the clock went back {_seconds(before_ms - at)} between two reports"
    if ahead is not None and known is not None and ahead > max(known, 0) + CLOCK_JUMP_MS:
        return f"the clock went ahead {_seconds(ahead - known)} between two reports"
    return ""


def excuse(changes: PostureChanges, rollouts: RolloutTracker, tenant: str, at_ms: int) -> list[str]:
    """Excuse the downgrades that something innocent explains, and forget old ones; returns the excuses used now."""
    excuses = []
    for fact, downgrade in list(changes.downgrades.items()):
        if at_ms > downgrade.at + max(_SIGNAL_OF[fact][1], HOUR_MS):
            del changes.downgrades[fact]
            rollouts.forget_downgrade(tenant, fact, downgrade.at)
        elif downgrade.state == DowngradeState.COUNTS:
            reason = _excuse(changes, fact, is_rollout=rollouts.is_rollout(tenant, fact, at_ms))
            if reason:
                excused = downgrade._replace(state=DowngradeState.EXCUSED, text=EXCUSES[reason])
                changes.downgrades[fact] = excused
                excuses.append(reason)
    return excuses


def _excuse(changes: PostureChanges, fact: str, *, is_rollout: bool) -> str:
    """The excuse for the downgrade of *fact*, "" if there is none.

    A device's management decides what is compliant by the system it knows: after an update it lags behind for a while.
    Whatever else became worse meanwhile is not excused by the update.
    """
    if is_rollout:
        return "rollout"
    since_update = changes.downgrades[fact].at - changes.updated_at
    return "update" if fact == "compliant" and 0 <= since_update <= HOUR_MS else ""


def signals(
    changes: PostureChanges, posture: Mapping[str, Any], at_ms: int, bound_at: int
) -> tuple[list[str], dict[str, str]]:
    """The signals at *at_ms* for a session bound since *bound_at*, and an explanation of each.

    A downgrade that is excused raises no signal; it is explained if nothing else raises the same signal.
    """
    raised: dict[str, list[str]] = {}
    excused: dict[str, str] = {}
    for fact, downgrade in changes.downgrades.items():
        signal, hold_ms = _SIGNAL_OF[fact]
        if at_ms > downgrade.at + hold_ms or (signal in _DURING_SESSION and downgrade.at <= bound_at):
            continue
        if downgrade.state == DowngradeState.COUNTS:
            raised.setdefault(signal, []).append(downgrade.text)
        elif downgrade.state == DowngradeState.EXCUSED:
            excused[signal] = downgrade.text
    if patch_level := posture.get("patch_level"):
        age = _days_since(patch_level, at_ms)
        if age > STALE_DAYS:
            raised["patch_stale"] = [f"patch level {patch_level}, {age} days old"]
    return sorted(raised), excused | {signal: ", ".join(texts)[:256] for signal, texts in raised.items()}


def _difference(fact: str, before: Any, now: Any) -> str:
    if fact == "sim_id":
        return "another SIM"
    before, now = (str(value).lower() if isinstance(value, bool) else value for value in (before, now))
    return f"{fact} {before} → {now}"


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g} s"


def _days_since(date: str, at_ms: int) -> int:
    """Days from an ISO *date* to *at_ms*; 0 for a date that is in no calendar."""
    try:
        then = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(at_ms - then.timestamp() * 1000) // DAY_MS
