"""A detection: a question about a session after an event, evaluated over a whole chunk of events at once.

A detection is stateless. That it held is remembered in the session's risk state (:mod:`pipeline.decisions.risk_state`)
for ``hold_s`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.events.columns import PRINCIPAL_KIND
from models.events.context_columns import POSTURE_FLAGS
from models.events.context_signals import packed

View = Mapping[str, NDArray[Any]]
"""Facts and features by name, each of shape ``(n,)``: a value after each event of the chunk.

Names are the fields of `CLIENT_FACTS`, `ACTIVITY_FACTS`, `CONTEXT_FACTS` and `ROLE_FACTS` in `models/updates/`, and the
features; a field added there is here.
"""
Limits = Mapping[str, float]
Bools = NDArray[np.bool_]
Severity = Literal["LOW", "MEDIUM", "HIGH"]
Prefilter = str | tuple[str, int]
"""The name of a fact, or some bits of one."""

MAX_SURPRISE_PER_CALL: Final = 4.0
"""In nats; a call that the model never saw has twice as many."""
MIN_MODELLED_CALLS: Final = 2.0
"""Calls within the last ten minutes below which nothing can be said about the majority of them."""
TENANT_ALLOWANCE: Final = 2.0
"""How far a tenant's sessions may exceed its cohort, whose figures are shrunk towards those of all tenants."""
FOREVER: Final = 10 * 365 * 86_400.0
HUMAN, SERVICE, API_KEY, AGENT = (PRINCIPAL_KIND[kind] for kind in ("human", "service", "api_key", "agent"))
BY_AGENT: Final = ("kind", AGENT)
"""The bit that only an agent's number has."""
STEP_UP_MISSED: Final = "step_up_missed"
"""The detection that the policy engine itself raises, at the deadline of a challenge."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One detection: what it looks for, how much it weighs, and what people read about it.

    Attributes:
        id: its name everywhere: metrics, policy, reasons, tests.
        text: one sentence for an analyst.
        user_text: one sentence for the person whose session it is.
        severity: how bad it is by itself, in the words of CAEP.
        weight: log-odds it adds while it holds, unless `pipeline/decisions/fitted.toml` or the policy file has another.
        hold_s: seconds for which it still counts after it last held.
        cleared_by_step_up: whether a step-up clears it.
        cleared_for_s: for how many seconds a step-up keeps it cleared even if it stops and starts to hold again;
            0 where each start is a new incident, as with each unknown network.
        is_fact: whether it observes what happened, not how unusual it is: an attested root, a token used twice, an
            analyst's word. Facts alone may end a session; anything else asks the person first, and of a machine it is
            reported for approval.
        suppressible: whether a verdict of *false positive* suppresses it; a fact, unlike a guess, is never suppressed.
        rests_on_silence: whether it rests on telemetry that did *not* arrive.
        fleet_may_follow: whether many devices at once make it a rollout, so that no step-up is requested on this
            detection alone before the fleet had time to follow (the policy's ``times.rollout_s``).
        signal: the context signal it rests on (:mod:`models.events.context_signals`), instead of *holds*.
        holds: (view, limits) → ``(n,)`` bools; ``None`` where a *signal* or the session's risk state decides.
        prefilter: facts without which *holds* is false: if one of them is 0 after every event of a chunk, *holds* is
            not evaluated. Of the facts in a set one suffices; of a fact of bits only the given bits count.
        learning: (view, limits) → ``(n,)`` bools: where the baseline is not established, so that the detection does
            not fire and is reported as learning; ``None`` for a detection that needs no history.
        limits: numbers a policy may change.
        observed: which fact of the view to show, with its unit; without a fact (""), the words to show where the
            context that sent the signal has none of its own.
        usual_fact: which fact is the principal's usual value, in the unit of *observed*.
        role_usual_fact: which fact is the usual value of the session's role, where the detection compares with it.
        normal: what is expected, with ``{limit}`` names filled in.
        attack: ids of techniques of ATT&CK in :mod:`pipeline.detections.techniques`; records name them.
        agent_threats: ids there of techniques of MITRE ATLAS and of risks of OWASP's list for agentic applications.
        references: sections of NIST CSF 2.0, NIST SP 800-207 or the OWASP NHI Top 10 (2025) that require it.
        needs: fields of events without which it cannot fire, as ``topic.field``.
        known_false_positives: honest behaviour that looks the same.
        clearing: one sentence: how it is cleared.
    """

    id: str
    text: str
    user_text: str
    severity: Severity
    weight: float
    hold_s: float
    cleared_by_step_up: bool
    observed: tuple[str, str]
    normal: str
    attack: tuple[str, ...]
    references: tuple[str, ...]
    needs: tuple[str, ...]
    known_false_positives: str
    clearing: str
    cleared_for_s: float = 0.0
    is_fact: bool = False
    suppressible: bool = True
    rests_on_silence: bool = False
    fleet_may_follow: bool = False
    signal: str = ""
    holds: Callable[[View, Limits], Bools] | None = None
    prefilter: tuple[Prefilter | frozenset[Prefilter], ...] = ()
    learning: Callable[[View, Limits], Bools] | None = None
    limits: Limits = field(default_factory=dict)
    usual_fact: str = ""
    role_usual_fact: str = ""
    agent_threats: tuple[str, ...] = ()


def event_fields(topic: str, *names: str) -> tuple[str, ...]:
    """Fields of *topic*'s events as ``topic.field``, for a detection's *needs*."""
    return tuple(f"{topic}.{name}" for name in names)


def signal(*signals: str) -> tuple[str, int]:
    """Prefilter of a detection that rests on one of the *signals* of :mod:`models.events.context_signals`."""
    return "signals", packed(signals)


def either(*prefilters: Prefilter) -> frozenset[Prefilter]:
    """Prefilter that any one of *prefilters* satisfies."""
    return frozenset(prefilters)


def posture(*flags: str) -> tuple[str, int]:
    """Prefilter of a detection that rests on one of the posture *flags* being true."""
    return "posture", sum(2 << 2 * POSTURE_FLAGS.index(name) for name in flags)


def only_where(candidates: Bools, condition: Callable[[], Bools]) -> Bools:
    """*candidates* and *condition*, which is evaluated only if there are candidates: most chunks have none."""
    return candidates & condition() if candidates.any() else candidates


def is_established(x: View, limit: Limits) -> Bools:
    """Where the principal's baseline covers enough days, ``limit["days"]``."""
    return x["days_known"] >= limit["days"]


def is_not_established(x: View, limit: Limits) -> Bools:
    """While the principal's baseline is being learned."""
    return ~is_established(x, limit)


def authenticated(x: View) -> Bools:
    """Where the session was signed in to or used: failed password guesses open no session to step up."""
    return x["signed_in"] | (x["calls_1h"] > 0)


def is_modelled(x: View) -> Bools:
    """Where the model knows most of the session's recent calls, so that its judgement of the others counts.

    A model trained elsewhere knows none of them, while a session that leaves its role also makes calls of that role.
    """
    return ~is_unmodelled(x) & (x["calls_10m"] > MIN_MODELLED_CALLS)


def is_unmodelled(x: View) -> Bools:
    """Where the model has never seen most of the session's recent calls."""
    return x["surprise_10m"] >= MAX_SURPRISE_PER_CALL * (x["calls_10m"] + 1.0)


def role_limit(x: View, fact: str, *, minimum: float, factor: float, unmodelled: Any) -> NDArray[np.float64]:
    """How high *fact* may rise in the session's role: *factor* times the role's usual, but never below *minimum*.

    Args:
        x: the view.
        fact: name of a fact that has a ``role_usual_…``.
        minimum: the lowest limit.
        factor: how many times the usual is allowed.
        unmodelled: the limit for anybody whose role the model does not know, a number or ``(n,)``. No role has a
            higher one, except at a tenant whose own cohort is known: there up to twice what it reaches.
    """
    role_usual = x[f"role_usual_{fact}"]
    maximum = np.where(x["tenant_cohort"], np.maximum(unmodelled, TENANT_ALLOWANCE * role_usual), unmodelled)
    modelled = np.minimum(np.maximum(minimum, factor * role_usual), maximum)
    return np.where(is_modelled(x), modelled, unmodelled)
