"""Learning roles: sessions of a kind are grouped by what they call (k-means), each group's calls counted.

The same calls and seed give the same bytes: of k-means only the grouping is kept, all else is counting.
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
from models.roles.roles import MOST_OPERATIONS, OTHER, VOLUMES, Roles, numbers_of
from models.state.segments import Floats, Ints, segments
from models.state.table import ROLES

MOST_SESSIONS: Final = 50_000
"""Sessions learned from at most, sample_calls by their key: counts of more say nothing new."""
CALLS_TO_GROUP: Final = 10
"""A session with fewer calls shows no profile; its calls are counted for the nearest role all the same."""
SESSIONS_A_ROLE: Final = 10
"""A kind of principal gets no more roles than so many sessions each would fill."""
STRUCTURE: Final = 0.25
"""Mean silhouette below which a grouping shows no substantial structure (Kaufman, Rousseeuw 1990, ch. 2)."""
BACK_OFF: Final = 32.0
"""Calls after an operation that weigh as much as all the role's: Dirichlet smoothing (MacKay, Peto 1995)."""
FLOOR: Final = 0.01
"""One call in a hundred may be anything that anybody calls: bounds how surprising a single call can be."""
UNSEEN: Final = 0.001
"""The least share of calls that may be operations without a number."""
_ENOUGH: Final = 1_000
"""Calls from which a 99.9 % quantile is more than their largest value."""
_RARE: Final = 0.999
SILHOUETTE_OF: Final = 2_000
"""About as many sessions say how good a grouping is: the time that takes grows with their square."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a recording in order of arrival, ``(n,)`` each.

    Attributes:
        session: the session's key.
        kind: of principal, an index of :data:`models.events.columns.KINDS`.
        operation: as a row keeps it (:func:`models.roles.roles.numbers_of`).
        names: the name of each operation.
    """

    session: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    operation: NDArray[np.uint32]
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Walked:
    """Numbers of each call's operation, of the one before, of its session, ``(n,)``; kind of each session."""

    symbol: Ints
    previous: Ints
    session: Ints
    kind: NDArray[np.uint8]


def fit_roles(calls: Calls, *, seed: int) -> Roles:
    """Learn roles, without what is usual of volumes yet: see :func:`with_usual`.

    Raises:
        ValueError: there are no calls to learn from.
    """
    if not calls.session.size:
        raise ValueError("roles are learned from API calls, and the recording holds none")
    operations = _most_called(calls)
    walked = _walk(calls, numbers_of(operations))
    kinds, size = len(KINDS), len(operations)
    anybody = _shares(walked.symbol, size)
    log_p = np.zeros((kinds, size + 2, size + 1, ROLES), np.float32)
    prior, rare = np.full((kinds, ROLES), -np.inf), np.zeros((kinds, ROLES))
    labels = np.full((kinds, ROLES), "", "U200")
    for kind in range(kinds):
        role_of = _grouped(walked, kind, size, seed)
        for role in range(max(role_of.max(initial=0) + 1, 1)):
            chosen = np.flatnonzero(role_of == role)
            mine = np.isin(walked.session, chosen) if chosen.size else np.ones(walked.symbol.size, np.bool_)
            symbol, previous = walked.symbol[mine], walked.previous[mine]
            values = _transitions(symbol, previous, anybody)
            log_p[kind, :, :, role] = values
            prior[kind, role] = np.log(max(chosen.size, 1) / max((role_of >= 0).sum(), 1))
            rare[kind, role] = np.quantile(-values[previous, symbol].astype(np.float64), _RARE)
            labels[kind, role] = _label(KINDS[kind] if chosen.size else KINDS[0], symbol, operations)
    usual = np.full((kinds, ROLES + 1, len(VOLUMES), len(QUANTILES)), np.inf)
    return Roles(np.array(operations), log_p, prior, rare, usual, labels)


def with_usual(roles: Roles, reached: Reached, *, tenants: bool = True) -> Roles:
    """*roles* that know what is usual: of a role, failing that of its kind, failing that of anybody.

    With *tenants* also what is usual at each of them, as far as they are known (:mod:`models.roles.cohort_fit`).
    *roles* are as :func:`fit_roles` made them; *reached* tells of :data:`models.roles.roles.VOLUMES`.
    """
    values = reached.values
    usual = np.empty_like(roles.usual)
    usual[:] = _quantiles(values, np.ones(len(values), np.bool_))
    for number in range(1, len(KINDS)):
        own = reached.kind == number
        if own.sum() >= _ENOUGH:
            usual[number] = _quantiles(values, own)
        for part in range(ROLES):
            if (own & (reached.role == part)).sum() >= _ENOUGH:
                usual[number, part] = _quantiles(values, own & (reached.role == part))
    learned = replace(roles, usual=usual)
    return replace(learned, cohorts=fit_cohorts(usual, reached)) if tenants else learned


def _quantiles(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    answer: Floats = np.quantile(values[chosen], QUANTILES, axis=0).T
    return answer


def sample_calls(calls: Calls) -> Calls:
    """*calls* of at most :data:`MOST_SESSIONS` sessions.

    The sessions with the lowest keys, which are hashes: a fair draw, and the same one every time.
    """
    keys = np.unique(calls.session)
    if keys.size <= MOST_SESSIONS:
        return calls
    mine = calls.session <= keys[MOST_SESSIONS - 1]
    return Calls(calls.session[mine], calls.kind[mine], calls.operation[mine], calls.names)


def _most_called(calls: Calls) -> list[str]:
    """Names of the operations that get a number, ascending by what rows keep of them."""
    found, count = np.unique(calls.operation, return_counts=True)
    most = np.sort(found[np.argsort(-count, kind="stable")[:MOST_OPERATIONS]])
    return [calls.names[item] for item in most.tolist()]


def _walk(calls: Calls, vocabulary: NDArray[np.uint32]) -> _Walked:
    """Each call with the one before it in its session."""
    _, session = np.unique(calls.session, return_inverse=True)
    seg = segments(session.astype(np.int64))
    operation = calls.operation[seg.order]
    place = np.minimum(np.searchsorted(vocabulary, operation), vocabulary.size - 1)
    symbol = np.where(vocabulary[place] == operation, place + 1, OTHER)
    previous = np.empty_like(symbol)
    previous[1:] = symbol[:-1]
    previous[seg.starts] = vocabulary.size + 1
    return _Walked(symbol, previous, seg.of, calls.kind[seg.order][seg.starts])


def _grouped(walked: _Walked, kind: int, size: int, seed: int) -> Ints:
    """The role of each session of *kind*, largest role first; -1 for other sessions, ``(sessions,)``."""
    role_of = np.full(walked.kind.size, -1, np.int64)
    mine = np.flatnonzero(walked.kind == kind)
    if not mine.size:
        return role_of
    number = np.full(walked.kind.size, -1, np.int64)
    number[mine] = np.arange(mine.size)
    own = number[walked.session] >= 0
    cell = number[walked.session[own]] * (size + 1) + walked.symbol[own]
    counts = np.bincount(cell, minlength=mine.size * (size + 1)).reshape(mine.size, size + 1)
    # Square roots of shares lie as far apart as the distributions do by Hellinger's distance.
    profiles = np.sqrt(counts / counts.sum(axis=1, keepdims=True))
    groups = _groups(profiles, counts.sum(axis=1) >= CALLS_TO_GROUP, seed)
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    role_of[mine] = np.argsort(order)[inverse]
    return role_of


def _groups(profiles: Floats, telling: NDArray[np.bool_], seed: int) -> Ints:
    """A group for each session: of 1 to :data:`ROLES` groupings the one with the best silhouette."""
    best, answer = STRUCTURE, np.zeros(len(profiles), np.int64)
    shown = profiles[telling]
    sample = slice(None, None, len(shown) // SILHOUETTE_OF + 1)
    apart = len(np.unique(shown.round(9), axis=0))
    for groups in range(2, min(ROLES, len(shown) // SESSIONS_A_ROLE, apart) + 1):
        fitted = KMeans(groups, n_init=4, random_state=seed).fit(shown)
        labels = fitted.labels_[sample]
        if len(np.unique(labels)) < groups:
            continue
        quality = silhouette_score(shown[sample], labels)
        if quality > best:
            best, answer = quality, fitted.predict(profiles).astype(np.int64)
    return answer


def _shares(symbol: Ints, size: int) -> Floats:
    """How often anybody calls each operation, none of them never, ``(V + 1,)``."""
    count = np.bincount(symbol, minlength=size + 1) + 1.0
    count[OTHER] = max(count[OTHER], UNSEEN * count.sum())
    answer: Floats = count / count.sum()
    return answer


def _transitions(symbol: Ints, previous: Ints, anybody: Floats) -> NDArray[np.float32]:
    """``log p(operation | the one before)`` of a role, ``(V + 2, V + 1)``.

    What followed an operation is smoothed by what the role calls at all, and that by what anybody calls.
    """
    width = anybody.size
    own = np.bincount(symbol, minlength=width) + BACK_OFF * anybody
    own /= own.sum()
    cell = previous * width + symbol
    count = np.bincount(cell, minlength=(width + 1) * width).reshape(width + 1, width)
    known = (count + BACK_OFF * own) / (count.sum(axis=1, keepdims=True) + BACK_OFF)
    answer: NDArray[np.float32] = np.log((1 - FLOOR) * known + FLOOR * anybody).astype(np.float32)
    return answer


def _label(kind: str, symbol: Ints, operations: list[str]) -> str:
    """The kind and the three operations called most."""
    count = np.bincount(symbol, minlength=len(operations) + 1)[1:]
    most = [operations[at] for at in np.argsort(-count, kind="stable")[:3].tolist() if count[at]]
    return f"{kind or 'anybody'}: {', '.join(most)}"[:200]
