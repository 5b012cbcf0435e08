"""Fit of roles: sessions of a kind of principal are clustered by their calls (k-means), and the calls counted.

The same calls and seed give the same bytes: only the clustering depends on k-means, the rest is counting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from models.events.columns import KINDS
from models.roles.cohort_fit import Reached, fit_cohorts
from models.roles.cohorts import QUANTILES
from models.roles.roles import MAX_OPERATIONS, OTHER, VOLUMES, Roles, operation_hashes
from models.state.segments import Floats, Ints, segments
from models.state.table import ROLES

MAX_SESSIONS: Final = 50_000
"""Sessions used at most, a sample by their key: more would not change the counts."""
MIN_CALLS_TO_GROUP: Final = 10
"""A session with fewer calls is not used for clustering; its calls still count for the nearest role."""
MIN_SESSIONS_PER_ROLE: Final = 10
"""A kind of principal gets no more roles than it has this many sessions for each."""
MIN_SILHOUETTE: Final = 0.25
"""Mean silhouette below which a clustering shows no substantial structure (Kaufman, Rousseeuw 1990, ch. 2)."""
SMOOTHING_CALLS: Final = 32.0
"""Calls after an operation with the same weight as all of the role: Dirichlet smoothing (MacKay, Peto 1995)."""
MIX_ANYBODY: Final = 0.01
"""Share of a role's calls that is distributed as anybody's: it bounds the surprise of a single call."""
MIN_OTHER: Final = 0.001
"""Smallest share of calls to operations without a number."""
_MIN_CALLS: Final = 1_000
"""Calls needed for a 99.9 % quantile that is not simply their maximum."""
_RARE: Final = 0.999
SILHOUETTE_SAMPLE: Final = 2_000
"""About how many sessions the silhouette is measured on; its cost is quadratic."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a recording in order of arrival, ``(n,)`` each.

    Attributes:
        session: the session's key.
        kind: of principal, an index of :data:`models.events.columns.KINDS`.
        operation: as a row stores it (:func:`models.roles.roles.operation_hashes`).
        names: the name of each operation.
    """

    session: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    operation: NDArray[np.uint32]
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class _IndexedCalls:
    """Calls as indices: of the operation, the previous operation and the session, ``(n,)``; kind of each session."""

    symbol: Ints
    previous: Ints
    session: Ints
    kind: NDArray[np.uint8]


def fit_roles(calls: Calls, *, seed: int) -> Roles:
    """Learn roles, without the usual volumes, which :func:`with_usual` adds.

    Raises:
        ValueError: there are no calls to learn from.
    """
    if not calls.session.size:
        raise ValueError("roles are learned from API calls, and the recording holds none")
    operations = _most_called(calls)
    indexed = _indexed(calls, operation_hashes(operations))
    kinds, size = len(KINDS), len(operations)
    anybody = _shares(indexed.symbol, size)
    log_p = np.zeros((kinds, size + 2, size + 1, ROLES), np.float32)
    prior, rare = np.full((kinds, ROLES), -np.inf), np.zeros((kinds, ROLES))
    labels = np.full((kinds, ROLES), "", "U200")
    for kind in range(kinds):
        role_of = _roles_of(indexed, kind, size, seed)
        for role in range(max(role_of.max(initial=0) + 1, 1)):
            chosen = np.flatnonzero(role_of == role)
            own = np.isin(indexed.session, chosen) if chosen.size else np.ones(indexed.symbol.size, np.bool_)
            symbol, previous = indexed.symbol[own], indexed.previous[own]
            values = _transitions(symbol, previous, anybody)
            log_p[kind, :, :, role] = values
            prior[kind, role] = np.log(max(chosen.size, 1) / max((role_of >= 0).sum(), 1))
            rare[kind, role] = np.quantile(-values[previous, symbol].astype(np.float64), _RARE)
            labels[kind, role] = _label(KINDS[kind] if chosen.size else KINDS[0], symbol, operations)
    usual = np.full((kinds, ROLES + 1, len(VOLUMES), len(QUANTILES)), np.inf)
    return Roles(np.array(operations), log_p, prior, rare, usual, labels)


def with_usual(roles: Roles, reached: Reached, *, tenants: bool = True) -> Roles:
    """*roles* with the usual volumes of each role; with too few calls those of its kind, or else of anybody.

    Args:
        roles: as :func:`fit_roles` returned them.
        reached: values of :data:`models.roles.roles.VOLUMES`.
        tenants: whether to learn the usual volumes of each tenant as well (:mod:`models.roles.cohort_fit`).
    """
    values = reached.values
    usual = np.empty_like(roles.usual)
    usual[:] = _quantiles(values, np.ones(len(values), np.bool_))
    for kind in range(1, len(KINDS)):
        own = reached.kind == kind
        if own.sum() >= _MIN_CALLS:
            usual[kind] = _quantiles(values, own)
        for role in range(ROLES):
            if (own & (reached.role == role)).sum() >= _MIN_CALLS:
                usual[kind, role] = _quantiles(values, own & (reached.role == role))
    learned = replace(roles, usual=usual)
    return replace(learned, cohorts=fit_cohorts(usual, reached)) if tenants else learned


def _quantiles(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    return np.quantile(values[chosen], QUANTILES, axis=0).T


def sample_calls(calls: Calls) -> Calls:
    """*calls* of at most :data:`MAX_SESSIONS` sessions.

    Those with the lowest keys, which are hashes: a random sample, and the same one every time.
    """
    keys = np.unique(calls.session)
    if keys.size <= MAX_SESSIONS:
        return calls
    drawn = calls.session <= keys[MAX_SESSIONS - 1]
    return Calls(calls.session[drawn], calls.kind[drawn], calls.operation[drawn], calls.names)


def _most_called(calls: Calls) -> list[str]:
    """Names of the operations that get a number, ascending by their hash."""
    found, count = np.unique(calls.operation, return_counts=True)
    frequent = np.sort(found[np.argsort(-count, kind="stable")[:MAX_OPERATIONS]])
    return [calls.names[operation] for operation in frequent.tolist()]


def _indexed(calls: Calls, vocabulary: NDArray[np.uint32]) -> _IndexedCalls:
    """*calls* as indices, each with the previous one of its session."""
    _, session = np.unique(calls.session, return_inverse=True)
    seg = segments(session.astype(np.int64))
    operation = calls.operation[seg.order]
    place = np.minimum(np.searchsorted(vocabulary, operation), vocabulary.size - 1)
    symbol = np.where(vocabulary[place] == operation, place + 1, OTHER)
    previous = np.empty_like(symbol)
    previous[1:] = symbol[:-1]
    previous[seg.starts] = vocabulary.size + 1
    return _IndexedCalls(symbol, previous, seg.of, calls.kind[seg.order][seg.starts])


def _roles_of(indexed: _IndexedCalls, kind: int, size: int, seed: int) -> Ints:
    """The role of each session of *kind*, largest role first; -1 for other sessions, ``(sessions,)``."""
    role_of = np.full(indexed.kind.size, -1, np.int64)
    sessions = np.flatnonzero(indexed.kind == kind)
    if not sessions.size:
        return role_of
    number = np.full(indexed.kind.size, -1, np.int64)
    number[sessions] = np.arange(sessions.size)
    own = number[indexed.session] >= 0
    cell = number[indexed.session[own]] * (size + 1) + indexed.symbol[own]
    counts = np.bincount(cell, minlength=sessions.size * (size + 1)).reshape(sessions.size, size + 1)
    # The Euclidean distance of square roots of shares is the Hellinger distance of the distributions.
    profiles = np.sqrt(counts / counts.sum(axis=1, keepdims=True))
    groups = _groups(profiles, counts.sum(axis=1) >= MIN_CALLS_TO_GROUP, seed)
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    role_of[sessions] = np.argsort(order)[inverse]
    return role_of


def _groups(profiles: Floats, usable: NDArray[np.bool_], seed: int) -> Ints:
    """The cluster of each session: of clusterings into 1 to :data:`ROLES` the one with the best silhouette."""
    best, best_groups = MIN_SILHOUETTE, np.zeros(len(profiles), np.int64)
    shown = profiles[usable]
    sample = slice(None, None, len(shown) // SILHOUETTE_SAMPLE + 1)
    distinct = len(np.unique(shown.round(9), axis=0))
    for groups in range(2, min(ROLES, len(shown) // MIN_SESSIONS_PER_ROLE, distinct) + 1):
        fitted = KMeans(groups, n_init=4, random_state=seed).fit(shown)
        labels = fitted.labels_[sample]
        if len(np.unique(labels)) < groups:
            continue
        quality = silhouette_score(shown[sample], labels)
        if quality > best:
            best, best_groups = quality, fitted.predict(profiles).astype(np.int64)
    return best_groups


def _shares(symbol: Ints, size: int) -> Floats:
    """Share of each operation in all calls, never 0, ``(V + 1,)``."""
    count = np.bincount(symbol, minlength=size + 1) + 1.0
    count[OTHER] = max(count[OTHER], MIN_OTHER * count.sum())
    return count / count.sum()


def _transitions(symbol: Ints, previous: Ints, anybody: Floats) -> NDArray[np.float32]:
    """``log p(operation | previous operation)`` of a role, ``(V + 2, V + 1)``.

    Counts after an operation are smoothed by the role's overall shares, and those by anybody's.
    """
    width = anybody.size
    own = np.bincount(symbol, minlength=width) + SMOOTHING_CALLS * anybody
    own /= own.sum()
    cell = previous * width + symbol
    count = np.bincount(cell, minlength=(width + 1) * width).reshape(width + 1, width)
    known = (count + SMOOTHING_CALLS * own) / (count.sum(axis=1, keepdims=True) + SMOOTHING_CALLS)
    return np.log((1 - MIX_ANYBODY) * known + MIX_ANYBODY * anybody).astype(np.float32)


def _label(kind: str, symbol: Ints, operations: list[str]) -> str:
    """Label of a role: the kind of principal and the three most frequent operations."""
    count = np.bincount(symbol, minlength=len(operations) + 1)[1:]
    frequent = [operations[index] for index in np.argsort(-count, kind="stable")[:3].tolist() if count[index]]
    return f"{kind or 'anybody'}: {', '.join(frequent)}"[:200]
