"""What became worse on a device: each report against the one before, fact by fact.

What a device *is* travels to its sessions as posture; this is what it *became*, told as signals
(:mod:`models.events.context_signals`) with the words an analyst reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from pipeline.contexts.device.rollouts import HOUR_MS, RolloutTracker
from schemas.members import DAY_MS

CLOCK_TOLERANCE_MS: Final = 120_000
"""By a clock that is off by less, reports and proofs are dated as they say."""
CLOCK_JUMP_MS: Final = 600_000
"""Without network time a clock is off by minutes, and is set right by as many: a jump by less is no sign."""
STALE_DAYS: Final = 180
"""A device whose patch level is older than this waits for security fixes that exist."""
_ATTESTED: Final = {"none": 0, "virtual": 0, "failed": 0, "basic": 1, "device": 2, "strong": 3}
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")
HOLDS, EXCUSED, OVER = 0, 1, 2
"""What became of a fall: it counts; something innocent explains it; the fact is as it was before."""
EXCUSES: Final = {
    "rollout": "many of the tenant's devices did the same, as in a rollout",
    "update": "its system was updated just before, and its management has to follow",
}
"""What explains a fall, and the words for it."""


def _lost(was: Any, now: Any) -> bool:
    return was is True and now is False


def _gained(was: Any, now: Any) -> bool:
    return was is False and now is True


def _attests_less(was: str, now: str) -> bool:
    """From a proof by hardware (``device``, ``strong``) to less; ``unevaluated`` says nothing."""
    return _ATTESTED.get(was, 0) >= 2 and _ATTESTED.get(now, 3) < 2


def is_older(was: str, now: str) -> bool:
    """Whether version *now* is surely older than *was*.

    Only what two sources would write alike is compared: the same words before the number, and no single
    number against a dotted one.

    >>> is_older("17.5.1", "17.4"), is_older("17.5.1", "17.5"), is_older("11", "10.0.22631")
    (True, False, False)
    """
    old, new = _VERSION.search(was), _VERSION.search(now)
    if not old or not new or was[: old.start()].casefold() != now[: new.start()].casefold():
        return False
    pairs = [found[0].split(".") for found in (old, new)]
    if min(map(len, pairs)) == 1 != max(map(len, pairs)):
        return False
    for before, after in zip_longest(*pairs):
        if None in (before, after):
            return False
        if int(before) != int(after):
            return int(after) < int(before)
    return False


@dataclass(frozen=True, slots=True)
class Watched:
    """A fact of posture, the *signal* that its fall gives for *hold_ms*, and what a fall is: (was, now)."""

    fact: str
    signal: str
    hold_ms: int
    worse: Callable[[Any, Any], bool]


WATCHED: Final[tuple[Watched, ...]] = (
    Watched("managed", "posture_downgraded", HOUR_MS, _lost),
    Watched("compliant", "posture_downgraded", HOUR_MS, _lost),
    Watched("screen_lock", "posture_downgraded", HOUR_MS, _lost),
    Watched("encrypted", "posture_downgraded", HOUR_MS, _lost),
    Watched("developer_mode", "posture_downgraded", HOUR_MS, _gained),
    Watched("debugger", "posture_downgraded", HOUR_MS, _gained),
    Watched("attestation", "attestation_downgraded", DAY_MS, _attests_less),
    Watched("os_version", "os_downgraded", DAY_MS, is_older),
    Watched("patch_level", "os_downgraded", DAY_MS, lambda was, now: bool(now < was)),
    Watched("sim_id", "sim_changed", DAY_MS, lambda was, now: bool(now != was)),
)
FACTS: Final = frozenset(watched.fact for watched in WATCHED)
"""What a fleet may follow in."""
_HOLD_OF: Final = {watched.fact: (watched.signal, watched.hold_ms) for watched in WATCHED} | {
    "clock": ("clock_tampered", HOUR_MS)
}
REMEMBERED: Final = frozenset(_HOLD_OF)
"""Facts of which a device remembers that they got worse."""
_OF_SYSTEM: Final = frozenset({"os_version", "patch_level"})
_OF_SESSION: Final = frozenset({"posture_downgraded"})
"""Signals of what happened under a session: one that began afterwards was let in knowing it."""


@dataclass(slots=True)
class Changes:
    """What fell on a device: ``{fact: [at ms, value before, what became of it, words]}``.

    *attested* is the newest attestation that was evaluated, *updated_at* (ms, 0: never) when the version of
    the system last changed, and not to an older one; *clock_ahead* (ms, None: not known) how far the
    device's clock runs ahead of when its reports arrive, by the one that arrived soonest after it was made.
    """

    fell: dict[str, list[Any]] = field(default_factory=dict)
    attested: str = ""
    updated_at: int = 0
    clock_ahead: int | None = None


def notice(
    changes: Changes,
    fleet: RolloutTracker,
    posture: Mapping[str, Any],
    fields: Mapping[str, Any],
    event: dict[str, Any],
) -> None:
    """Compare what a report *told* with the *posture* before it; both hold only facts that are known."""
    at, tenant = event["occurred_at"], event["tenant"]
    another_system = fields.get("platform", posture.get("platform")) != posture.get("platform")
    if not another_system and _is_update(posture, fields):
        changes.updated_at = at
    for watched in WATCHED:
        now = fields.get(watched.fact)
        if now is None or now == "unevaluated" or (another_system and watched.fact in _OF_SYSTEM):
            continue
        before = changes.fell.get(watched.fact)
        was = changes.attested if watched.fact == "attestation" else posture.get(watched.fact)
        if was is not None and watched.worse(was, now):
            reference = before[1] if before and before[2] != OVER else was
            fleet.fall(tenant, watched.fact, before[0] if before else 0, at)
            changes.fell[watched.fact] = [at, reference, HOLDS, _words(watched.fact, reference, now)]
        elif before and not watched.worse(before[1], now):
            before[2] = OVER
        if watched.fact == "attestation":
            changes.attested = now


def _is_update(posture: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether the system is another than before, and nothing of it older."""
    system = [
        watched
        for watched in WATCHED
        if watched.fact in _OF_SYSTEM and watched.fact in posture and watched.fact in fields
    ]
    changed = [watched for watched in system if fields[watched.fact] != posture[watched.fact]]
    return bool(changed) and not any(watched.worse(posture[watched.fact], fields[watched.fact]) for watched in changed)


def check_clock(changes: Changes, posture: Mapping[str, Any], clock_at: int, event: dict[str, Any]) -> bool:
    """Whether the device's clock jumped away from the time, or a proof is of a time that is still to come.

    A clock that is off by the same from the first report on is only wrong, one that is set right is right,
    and what is uploaded late contradicts nothing. *clock_at*: the time of the device's newest report, by its
    own clock, ms.
    """
    at, received = event["told_at"], event["recorded_at"]
    ahead = at - received if received > 0 else None
    newer = (event["sequence"] or 0) > posture.get("sequence", 2**63)
    words = _contradiction(changes, clock_at if newer else 0, ahead, event)
    if ahead is not None:
        known = None if newer and at < clock_at else changes.clock_ahead
        changes.clock_ahead = ahead if known is None else max(ahead, known)
    if words:
        changes.fell["clock"] = [event["occurred_at"], None, HOLDS, words]
    return bool(words)


def _contradiction(changes: Changes, before: int, ahead: int | None, event: dict[str, Any]) -> str:
    """What contradicts the report's time: its arrival, or that of one made *before*, ms; "" if nothing."""
    at, known = event["told_at"], changes.clock_ahead
    proof = (event["attested_at"] or 0) - max(at, event["recorded_at"])
    if proof > CLOCK_JUMP_MS:
        return f"attested {_seconds(proof)} after the report was made"
    if at < before - CLOCK_JUMP_MS and not (ahead is not None and abs(ahead) <= CLOCK_JUMP_MS):
        return f"the clock went back {_seconds(before - at)} between two reports"
    if ahead is not None and known is not None and ahead > max(known, 0) + CLOCK_JUMP_MS:
        return f"the clock went ahead {_seconds(ahead - known)} between two reports"
    return ""


def excuse(changes: Changes, fleet: RolloutTracker, tenant: str, at: int) -> list[str]:
    """Excuse what something innocent explains, forget what is over; of each fact excused now, by what."""
    excused = []
    for fact, fell in list(changes.fell.items()):
        if at > fell[0] + max(_HOLD_OF[fact][1], HOUR_MS):
            del changes.fell[fact]
            fleet.forget(tenant, fact, fell[0])
        elif fell[2] == HOLDS and (excuse := _excuse(changes, fact, fleet.is_rollout(tenant, fact, at))):
            fell[2:] = EXCUSED, EXCUSES[excuse]
            excused.append(excuse)
    return excused


def _excuse(changes: Changes, fact: str, is_rollout: bool) -> str:  # noqa: FBT001 - what the fleet says
    """What explains that *fact* fell; nothing if nothing does.

    A device's management says what complies by the system it knows: after an update it is behind for a while.
    What else got worse meanwhile has to answer for itself.
    """
    if is_rollout:
        return "rollout"
    since = changes.fell[fact][0] - changes.updated_at
    return "update" if fact == "compliant" and 0 <= since <= HOUR_MS else ""


def signals(changes: Changes, posture: Mapping[str, Any], at: int, bound_at: int) -> tuple[list[str], dict[str, str]]:
    """What a session bound since *bound_at* is told at *at*, ms: signals, and the words to each.

    What was excused is no signal; that it was, and why, is said where nothing else gives the same signal.
    """
    words: dict[str, list[str]] = {}
    excused: dict[str, str] = {}
    for fact, (when, _, state, text) in changes.fell.items():
        signal, hold_ms = _HOLD_OF[fact]
        if at > when + hold_ms or (signal in _OF_SESSION and when <= bound_at):
            continue
        if state == HOLDS:
            words.setdefault(signal, []).append(text)
        elif state == EXCUSED:
            excused[signal] = text
    if patch_level := posture.get("patch_level"):
        age = _days_since(patch_level, at)
        if age > STALE_DAYS:
            words["patch_stale"] = [f"patch level {patch_level}, {age} days old"]
    return sorted(words), excused | {signal: ", ".join(lines)[:256] for signal, lines in words.items()}


def _words(fact: str, was: Any, now: Any) -> str:
    if fact == "sim_id":
        return "another SIM"
    was, now = (str(item).lower() if isinstance(item, bool) else item for item in (was, now))
    return f"{fact} {was} → {now}"


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g} s"


def _days_since(date: str, at: int) -> int:
    """Days from an ISO *date* to *at*, ms; a date that no calendar has is today."""
    try:
        then = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(at - then.timestamp() * 1000) // DAY_MS
