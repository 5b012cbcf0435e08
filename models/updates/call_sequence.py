"""Update of a session's call sequence: its likely role, and how surprising each call was for that role.

A call is surprising by how unlikely it was, knowing the call before it and what the session did so far. A row
keeps the last operation as 32 bits that mean the same to every model, and for each role of the model in force
the logarithm of how well it explains the session's calls; scores under another model's tag are not read.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from models.features.table import INCREMENT
from models.jit import compiled
from models.roles.roles import OTHER, VOLUMES
from models.state.table import ROLES

KEEP: Final = np.float32(2.0 ** (-1 / 128))
"""What is left of a role's score at the next call: the last 128 calls weigh as much as all before them."""
CLEAR: Final = 0.9
"""Likelihood above which a role's usual values are used for the session."""
UNCLEAR: Final = -1
"""The role of a session that has not shown one yet."""
SEQUENCE: Final = ("surprise_10m", "surprise_ratio_10m", "rare_transitions_10m")
"""The features about the order of calls."""
USUAL_NAMES: Final = tuple(f"role_usual_{name}" for name in VOLUMES)
_VOLUMES: Final = len(VOLUMES)
_SURPRISE, _RARE = INCREMENT["surprise"], INCREMENT["rare"]

ROLE_FACTS: Final = np.dtype(
    [
        ("usual", "<f8", (len(VOLUMES),)),  # USUAL_NAMES: 99 of 100 of the role's calls stay below
        ("role", "<i8"),  # before the event
        ("tenant_cohort", "?"),  # the usual values are those of the session's own tenant
        ("surprise", "<f8"),  # nats above what the role expects, of a call
        ("previous_operation", "<u4"),  # before the call; else the last
        ("familiar", "?"),  # the newest call is one the model has seen
        ("rare", "?"),  # one in a thousand of the role's calls at most is as surprising
    ]
)
"""What is known of a session's role at an event; usual values are the kind's while the role is not clear."""


@compiled
def cohort_of(tenant: int, roles: Any) -> int:
    """Which of the cohorts of *roles* a session of *tenant* is held against, 0 for that of all tenants."""
    return _number(roles.tenants, tenant)


@compiled
def without_roles(row: Any, fact: Any) -> None:
    """Without roles: no usual values, and every call is known."""
    fact.role, fact.familiar, fact.previous_operation = UNCLEAR, True, row.last_operation
    fact.usual[:] = np.inf


@compiled
def keep_role(row: Any, fact: Any, kind: int, cohort: int, roles: Any, weights: Any) -> None:
    """An event that is no call; *weights* is room for a number for each role."""
    fact.familiar, fact.previous_operation = (
        _number(roles.vocabulary, row.last_operation) != OTHER,
        row.last_operation,
    )
    _role(fact, kind, cohort, roles, weights, _weigh(row, kind, roles, weights))


@compiled
def apply_role(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    row: Any, fact: Any, kind: int, cohort: int, called: int, roles: Any, weights: Any, marks: Any
) -> None:
    """A call of the operation *called*, as rows keep it: how surprising it was for what came before.

    Marks its surprise, and what is rare where the role is clear.
    """
    before, current = row.last_operation, _number(roles.vocabulary, called)
    fact.previous_operation, fact.familiar = before, current != OTHER
    if row.roles_tag != roles.tag:
        row.role_scores[:] = np.float32(0)
        row.roles_tag = roles.tag
    total = _weigh(row, kind, roles, weights)
    _role(fact, kind, cohort, roles, weights, total)
    previous = _number(roles.vocabulary, before) if before else roles.vocabulary.size + 1
    log_p, expected = roles.log_p[kind, previous, current], roles.expected[kind, previous]
    likely, due = 0.0, 0.0
    for role in range(ROLES):
        likely += weights[role] * math.exp(np.float64(log_p[role]))
        due += weights[role] * expected[role]
        row.role_scores[role] = row.role_scores[role] * KEEP + log_p[role]
    surprise = -math.log(likely / total)
    fact.surprise = surprise - due / total
    fact.rare = fact.role != UNCLEAR and surprise > roles.rare[kind, fact.role]
    marks[_SURPRISE], marks[_RARE] = fact.surprise, fact.rare
    row.last_operation = called


@compiled
def _number(known: Any, operation: int) -> int:
    """The number of an operation or tenant in *known*, ascending, from 1; 0 for one that is not there."""
    low, high = 0, known.size
    while low < high:
        middle = (low + high) // 2
        if known[middle] < operation:
            low = middle + 1
        else:
            high = middle
    return low + 1 if low < known.size and known[low] == operation else 0


@compiled
def _weigh(row: Any, kind: int, roles: Any, weights: Any) -> float:
    """How likely each role is, the likeliest 1, into *weights*; their sum."""
    most, known = -np.inf, row.roles_tag == roles.tag
    for role in range(ROLES):
        weights[role] = roles.prior[kind, role]
        if known:
            weights[role] += row.role_scores[role]
        most = max(most, weights[role])
    total = 0.0
    for role in range(ROLES):
        weights[role] = math.exp(weights[role] - most)
        total += weights[role]
    return total


@compiled
def _role(fact: Any, kind: int, cohort: int, roles: Any, weights: Any, total: float) -> None:
    clear = total * CLEAR <= 1.0  # the likeliest weighs 1
    likeliest = np.argmax(weights)
    fact.role = likeliest if clear else UNCLEAR
    shown = likeliest if clear else ROLES
    fact.tenant_cohort = roles.own[cohort, kind, shown]
    usual = roles.upper[cohort, kind, shown]
    for number in range(_VOLUMES):
        fact.usual[number] = usual[number]
