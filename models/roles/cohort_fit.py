"""Learning cohorts: what is usual in a role at one tenant, drawn towards what is usual at all of them.

The fewer sessions a tenant's cohort was learned from, the less it differs from that of all tenants, by
Bühlmann's credibility: of *n* sessions the tenant's own word weighs n / (n + :data:`STEADY`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.roles.cohorts import MOST_TENANTS, QUANTILES, Cohorts, no_cohorts
from models.state.segments import Floats, Ints
from models.state.table import ROLES

LEAST_SESSIONS: Final = 30
"""Of a tenant in a role, below which the role's cohort of all tenants stands in."""
LEAST_CALLS: Final = 100
"""Calls from which a 99 % quantile is more than their largest value."""
STEADY: Final = 30.0
"""Sessions at which the tenant's own word weighs as much as that of all tenants."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What sessions of normal traffic had reached at n ≥ 1 of their calls.

    Attributes:
        values: the volumes, ``(n, volumes)``.
        kind: of the principal, an index of :data:`models.events.columns.KINDS`, ``(n,)``.
        role: of the kind, negative where it was not clear, ``(n,)``.
        session: the session's key, ``(n,)``.
        tenant: what :func:`models.events.text_hashing.brief` makes of the tenant's name, ``(n,)``.
    """

    values: Floats
    kind: NDArray[np.uint8]
    role: Ints
    session: NDArray[np.uint64]
    tenant: NDArray[np.uint32]

    @classmethod
    def together(cls, parts: Sequence[Reached]) -> Reached:
        """All calls of *parts*, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def take(self, chosen: Ints) -> Reached:
        """The *chosen* calls alone."""
        return Reached(*(getattr(self, name)[chosen] for name in self.__slots__))


def weight(sessions: int) -> float:
    """What share of a cohort is the tenant's own word, if it was learned from so many *sessions*.

    >>> weight(0), weight(30), weight(270)
    (0.0, 0.5, 0.9)
    """
    return sessions / (sessions + STEADY)


def shrunk(own: Floats, everybody: Floats, sessions: int) -> Floats:
    """*own* of so many *sessions*, drawn towards *everybody*: the mean of their logarithms by :func:`weight`.

    On that scale twice as much is as far as half as much. What counts is from 0 on; surprise may be below 0.
    """
    share = weight(sessions)
    return _plain((1.0 - share) * _scaled(everybody) + share * _scaled(own))


def fit_cohorts(usual: Floats, reached: Reached, *, alone: bool = False) -> Cohorts:
    """Learn what is usual at the tenants that were seen enough of, at most :data:`MOST_TENANTS`.

    Args:
        usual: of all tenants, as :attr:`models.roles.roles.Roles.usual`.
        reached: calls of tenants.
        alone: whether the only tenant has cohorts of its own: not where *usual* was learned from its calls.
    """
    learned = {tenant: _of_tenant(usual, mine) for tenant, mine in _tenants(reached, 1 if alone else 2)}
    known = sorted(tenant for tenant, (_, sessions) in learned.items() if sessions.any())
    if not known:
        return no_cohorts(usual.shape[2])
    return Cohorts(
        np.array(known, np.uint32),
        np.stack([learned[tenant][0] for tenant in known]),
        np.stack([learned[tenant][1] for tenant in known]),
    )


def _tenants(reached: Reached, fewest: int) -> Iterator[tuple[int, Reached]]:
    """The tenants with most sessions, and their calls; none where there are less than the *fewest*."""
    tenants, of = np.unique(reached.tenant, return_inverse=True)
    if tenants.size < fewest:
        return
    _, first = np.unique(reached.session, return_index=True)
    sessions = np.bincount(of[first], minlength=tenants.size)
    for at in np.lexsort((tenants, -sessions))[:MOST_TENANTS].tolist():
        if sessions[at] >= LEAST_SESSIONS:
            yield int(tenants[at]), reached.take(np.flatnonzero(of == at))


def _of_tenant(usual: Floats, mine: Reached) -> tuple[Floats, Ints]:
    """What is usual at one tenant, and from how many sessions that is known; 0 where it is not."""
    floats, sessions = np.zeros_like(usual), np.zeros(usual.shape[:2], np.int64)
    for kind in range(1, len(KINDS)):
        of_kind = mine.kind == kind
        for part in range(ROLES + 1):
            cell = np.flatnonzero(of_kind if part == ROLES else of_kind & (mine.role == part))
            count = np.unique(mine.session[cell]).size
            if count >= LEAST_SESSIONS and cell.size >= LEAST_CALLS:
                own = np.quantile(mine.values[cell], QUANTILES, axis=0).T
                floats[kind, part], sessions[kind, part] = shrunk(own, usual[kind, part], count), count
    return floats, sessions


def _scaled(values: Floats) -> Floats:
    answer: Floats = np.sign(values) * np.log1p(np.abs(values))
    return answer


def _plain(scaled: Floats) -> Floats:
    answer: Floats = np.sign(scaled) * np.expm1(np.abs(scaled))
    return answer
