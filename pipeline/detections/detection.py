"""What a detection is: a question about a session after an event, asked of a whole chunk at once.

A rule remembers nothing. What it found is remembered by the session's case (:mod:`pipeline.decisions.risk_state`) for
``hold_s`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.events.columns import PRINCIPAL_KIND
from models.events.context_columns import POSTURE_FLAGS
from models.events.context_signals import packed

View = Mapping[str, NDArray[Any]]
Limits = Mapping[str, float]
Holds = NDArray[np.bool_]
Severity = Literal["LOW", "MEDIUM", "HIGH"]
Prefilter = str | tuple[str, int]
"""A fact, or some bits of one."""

ATTACK_VERSION: Final = "18.1"
MOST_SURPRISE: Final = 4.0
"""Nats a call; one that the model never saw has twice as many."""
FEWEST_CALLS: Final = 2.0
"""Of the last ten minutes, from which something can be said of most of them."""
TIMES_AT_TENANT: Final = 2.0
"""What is usual at a tenant is drawn towards all tenants', so sessions of a large one reach more."""
FOREVER: Final = 10 * 365 * 86_400.0
HUMAN, SERVICE, API_KEY, AGENT = (PRINCIPAL_KIND[k] for k in ("human", "service", "api_key", "agent"))
BY_AGENT: Final = ("kind", AGENT)
"""The bit that only the number of agents has."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One detection.

    Attributes:
        id: its name everywhere: metrics, policy, reasons, tests.
        text: one sentence for an analyst.
        user_text: one sentence for the person whose session it is.
        severity: CAEP's word for how bad it is alone.
        weight: log-odds it adds while it holds.
        hold_s: seconds it goes on counting after it last held.
        cleared_by_step_up: whether proving a factor again removes it.
        attack: ATT&CK technique ids, of version :data:`ATTACK_VERSION`.
        holds: (view, limits) → ``(n,)`` bools; ``None`` where a *signal* or the session's case tells.
        observed: which fact of the view to show, with its unit; without a fact (""), the words to show where
            the context that gave the signal has none of its own.
        normal: what is expected, with ``{limit}`` names filled in.
        limits: numbers a policy may change.
        silence: whether it rests on telemetry *not* having come.
        known_false_positives: what honest people do that looks like it.
        needs: members of events without which it cannot fire, as ``topic.member``.
        references: sections of NIST CSF 2.0, NIST SP 800-207 or the OWASP NHI Top 10 (2025) that ask for it.
        clearing: one sentence, how it is cleared.
        signal: the word of a context that it rests on (:mod:`models.events.context_signals`), in place of *holds*.
        learning: (view, limits) → ``(n,)`` bools: where it is not known yet what is normal, so that it keeps
            still and says so; ``None`` for a detection that needs no history.
        mutable: whether a verdict of *false positive* keeps it quiet; what is a fact, not a guess, never is.
        usual: which fact of the view is what is usual for the principal, in the unit of *observed*.
        role_usual: which fact is what is usual in the session's role, where the rule asks for it.
        stirs: facts that *holds* cannot do without: where one of them is 0 after every event of a chunk, it
            holds nowhere and is not asked. Of several in a set one is enough; of a fact of bits only those
            given with it count.
        answers_s: for how many seconds a proved factor answers it, though it stops and begins to hold again;
            0 where each beginning is another matter, as each unknown network is.
        fleet_may_follow: whether many devices at once make it a rollout, so that nobody is asked for a factor
            for its sake alone before the fleet had time to follow (the policy's ``times.rollout_s``).
    """

    id: str
    text: str
    user_text: str
    severity: Severity
    weight: float
    hold_s: float
    cleared_by_step_up: bool
    attack: tuple[str, ...]
    holds: Callable[[View, Limits], Holds] | None
    observed: tuple[str, str]
    normal: str
    known_false_positives: str
    limits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    silence: bool = False
    needs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    clearing: str = ""
    signal: str = ""
    learning: Callable[[View, Limits], Holds] | None = None
    suppressible: bool = True
    usual: str = ""
    role_usual: str = ""
    prefilter: tuple[Prefilter | frozenset[Prefilter], ...] = ()
    answers_s: float = 0.0
    fleet_may_follow: bool = False


def members(topic: str, *names: str) -> tuple[str, ...]:
    """Members of events as a rule names what it needs: ``topic.member``."""
    return tuple(f"{topic}.{name}" for name in names)


def signal(*signals: str) -> tuple[str, int]:
    """What a rule is stirred by that rests on one of *signals* of :mod:`models.events.context_signals`."""
    return "signals", packed(signals)


def either(*stirs: Prefilter) -> frozenset[Prefilter]:
    """One of *stirs* is enough."""
    return frozenset(stirs)


def posture(*flags: str) -> tuple[str, int]:
    """What a rule is stirred by that rests on one of the posture *flags* being true."""
    return "posture", sum(2 << 2 * POSTURE_FLAGS.index(name) for name in flags)


def among(some: Holds, holds: Callable[[], Holds]) -> Holds:
    """Those of *some* for which *holds* too, which is asked only where there are any: in most chunks none."""
    return some & holds() if some.any() else some


def is_established(x: View, limit: Limits) -> Holds:
    """Where enough days of the principal's history are known, ``limit["days"]``, to say what is usual."""
    answer: Holds = x["days_known"] >= limit["days"]
    return answer


def is_not_established(x: View, limit: Limits) -> Holds:
    """Where the principal's history is still being learned."""
    return ~is_established(x, limit)


def authenticated(x: View) -> Holds:
    """Whether anybody got in: who guesses passwords in vain has no session to be asked about."""
    answer: Holds = x["signed_in"] | (x["calls_1h"] > 0)
    return answer


def explained(x: View) -> Holds:
    """Where the model knows most of what the session lately called, so that its word on the rest counts.

    A model that was trained elsewhere explains nothing; a step out of a role is beside steps within it.
    """
    answer: Holds = ~unexplained(x) & (x["calls_10m"] > FEWEST_CALLS)
    return answer


def unexplained(x: View) -> Holds:
    """Where most of what the session lately called is nothing that the model has seen."""
    answer: Holds = x["surprise_10m"] >= MOST_SURPRISE * (x["calls_10m"] + 1.0)
    return answer


def of_role(x: View, fact: str, *, floor: float, times: float, most: Any) -> NDArray[np.float64]:
    """How much of *fact* the session's role may reach: *times* its usual, but never below *floor*.

    *most*, one or ``(n,)``, is what anybody may where the model does not know the role. More is right only
    at a tenant of which is known what its sessions reach in this role: there up to twice as much.
    """
    role = x[f"role_usual_{fact}"]
    highest = np.where(x["tenant_cohort"], np.maximum(most, TIMES_AT_TENANT * role), most)
    usual = np.minimum(np.maximum(floor, times * role), highest)
    answer: NDArray[np.float64] = np.where(explained(x), usual, most)
    return answer


def numbers(**limits: float) -> Mapping[str, float]:
    """Limits of a rule, which nobody changes by accident."""
    return MappingProxyType(limits)
