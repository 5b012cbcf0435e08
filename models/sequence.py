"""The sequence side of the fold: which role a session plays, and how surprising each call was for it.

A call is surprising by how unlikely it was, knowing the call before it and what the session did so far. A row
keeps the last operation as 32 bits that mean the same to every model, and for each role of the model in force
the logarithm of how well it explains the session's calls; scores under another model's tag are not read.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import Batch, Kind
from models.roles import OTHER, VOLUMES, Roles
from models.rolling import Floats, Segments, fading_sums
from models.state import ROLES, Rows

Facts = dict[str, NDArray[Any]]
KEEP: Final = np.float32(2.0 ** (-1 / 128))
"""What is left of a role's score at the next call: the last 128 calls weigh as much as all before them."""
CLEAR: Final = 0.9
"""So likely a role must be before its usual values are held against the session."""
UNCLEAR: Final = -1
"""The role of a session that has not shown one yet."""
SEQUENCE: Final = ("surprise_10m", "surprise_ratio_10m", "rare_transitions_10m")
"""The features that tell of the order of calls."""
USUAL_NAMES: Final = tuple(f"role_usual_{name}" for name in VOLUMES)


def follow_roles(
    roles: Roles | None, batch: Batch, seg: Segments, kind: NDArray[np.uint8], before: Rows, after: Rows
) -> Facts:
    """Facts of each event, ``(n,)``, and *after*'s part of the row.

    ``role``: the session's role before the event, :data:`UNCLEAR` where it has none; ``role_usual_<name>``:
    what 99 of 100 of that role's calls stay below (of the kind's, while the role is not clear; inf without
    roles); ``familiar``: whether the newest call is one the model has seen (always without roles). A chunk of
    calls also has ``surprise``, nats above what the role expects, ``rare``, whether the role is clear and one
    in a thousand of its calls at most is as surprising, and ``previous_operation``.
    """
    called = np.empty(0, np.uint32)
    facts: Facts = {}
    if batch.kind is Kind.CALL:
        called = batch.columns["called"][seg.order]
        facts["previous_operation"] = _earlier(called, before["last_operation"], seg)
        after["last_operation"] = called[seg.lasts]
    if roles is None:
        return facts | _nothing(batch)
    held = np.where((before["roles_tag"] == roles.tag)[:, None], before["role_scores"], np.float32(0))
    newest = called if batch.kind is Kind.CALL else before["last_operation"][seg.of]
    facts["familiar"] = roles.symbols(newest) != OTHER
    if batch.kind is not Kind.CALL:
        return facts | _role(roles, kind, *_weights(roles, kind, held[seg.of]))
    previous = roles.after(facts["previous_operation"])
    log_p = roles.following(kind, previous, roles.symbols(called))
    scores = fading_sums(log_p, np.full((len(batch), 1), KEEP), held, seg)
    after["role_scores"], after["roles_tag"] = scores[seg.lasts], roles.tag
    weights, total = _weights(roles, kind, _earlier(scores, held, seg))
    surprise = -np.log(_across(weights * np.exp(_by_role(log_p))) / total)
    facts["surprise"] = surprise - _across(weights * _by_role(roles.expected[kind, previous])) / total
    facts |= _role(roles, kind, weights, total)
    facts["rare"] = (facts["role"] != UNCLEAR) & (surprise > roles.rare[kind, facts["role"]])
    return facts


def _nothing(batch: Batch) -> Facts:
    n = len(batch)
    facts: Facts = dict.fromkeys(USUAL_NAMES, np.full(n, np.inf))
    facts["role"] = np.full(n, UNCLEAR, np.int64)
    facts["familiar"] = np.ones(n, np.bool_)
    if batch.kind is Kind.CALL:
        facts |= {"surprise": np.zeros(n), "rare": np.zeros(n, np.bool_)}
    return facts


def _earlier(values: NDArray[Any], start: NDArray[Any], seg: Segments) -> NDArray[Any]:
    earlier = np.empty_like(values)
    earlier[1:] = values[:-1]
    earlier[seg.starts] = start
    return earlier


def _weights(roles: Roles, kind: NDArray[np.uint8], scores: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """How likely each role is, the likeliest 1, ``(ROLES, n)``; and their sum, ``(n,)``."""
    log = _by_role(scores) + np.take(roles.prior.T, kind, axis=1)
    weights = np.exp(log - log.max(axis=0))
    return weights, _across(weights)


def _by_role(values: NDArray[Any]) -> Floats:
    """``(n, ROLES)`` as ``(ROLES, n)``: one role's values lie side by side, which is several times faster."""
    return np.ascontiguousarray(values.T, np.float64)


def _across(values: Floats) -> Floats:
    """The sum over roles, ``(n,)``, added up in one order, so that no chunk changes a bit of it."""
    while len(values) > 1:
        half = len(values) // 2
        values = values[:half] + values[half:]
    total: Floats = values[0]
    return total


def _role(roles: Roles, kind: NDArray[np.uint8], weights: Floats, total: Floats) -> Facts:
    likeliest = weights.argmax(axis=0)
    clear = total * CLEAR <= 1.0  # the likeliest weighs 1
    usual = roles.upper[kind, np.where(clear, likeliest, ROLES)]
    facts: Facts = dict(zip(USUAL_NAMES, usual.T, strict=True))
    facts["role"] = np.where(clear, likeliest, UNCLEAR)
    return facts
