"""Fit of cohorts: the usual values of a role at one tenant, shrunk towards those of all tenants.

The fewer sessions a tenant's cohort was learned from, the less it differs from that of all tenants, by Bühlmann's
credibility: with *n* sessions the tenant's own values have the weight n / (n + :data:`CREDIBILITY_SESSIONS`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.roles.cohorts import MAX_TENANTS, QUANTILES, Cohorts, no_cohorts
from models.state.segments import Floats, Ints
from models.state.table import ROLES

MIN_SESSIONS: Final = 30
"""Of a tenant in a role; with fewer, the cohort of all tenants is used."""
MIN_CALLS: Final = 100
"""Calls needed for a 99 % quantile that is not simply their maximum."""
CREDIBILITY_SESSIONS: Final = 30.0
"""Sessions with which the tenant's own values have the same weight as those of all tenants."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The volumes that sessions of normal traffic had reached at n ≥ 1 of their calls.

    Attributes:
        values: the volumes, ``(n, volumes)``.
        kind: of the principal, an index of :data:`models.events.columns.KINDS`, ``(n,)``.
        role: of the kind, negative while it is not clear, ``(n,)``.
        session: the session's key, ``(n,)``.
        tenant: :func:`models.events.text_hashing.short_fingerprint` of the tenant's name, ``(n,)``.
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
    """Weight of the tenant's own values in a cohort that was learned from *sessions* sessions.

    >>> weight(0), weight(30), weight(270)
    (0.0, 0.5, 0.9)
    """
    return sessions / (sessions + CREDIBILITY_SESSIONS)


def shrunk(own: Floats, all_tenants: Floats, sessions: int) -> Floats:
    """*own* values of *sessions* sessions shrunk towards *all_tenants*: mean of their logarithms, by :func:`weight`.

    On that scale, twice as much is as far away as half as much. Counts are never negative, surprise may be.
    """
    share = weight(sessions)
    return _unscaled((1.0 - share) * _scaled(all_tenants) + share * _scaled(own))


def fit_cohorts(usual: Floats, reached: Reached, *, alone: bool = False) -> Cohorts:
    """Learn the usual values of tenants with enough sessions, at most :data:`MAX_TENANTS`.

    Args:
        usual: those of all tenants, as :attr:`models.roles.roles.Roles.usual`.
        reached: calls of all tenants.
        alone: whether a single tenant gets cohorts of its own; false if *usual* was learned from the same calls.
    """
    learned = {tenant: _of_tenant(usual, own) for tenant, own in _tenants(reached, 1 if alone else 2)}
    known = sorted(tenant for tenant, (_, sessions) in learned.items() if sessions.any())
    if not known:
        return no_cohorts(usual.shape[2])
    return Cohorts(
        np.array(known, np.uint32),
        np.stack([learned[tenant][0] for tenant in known]),
        np.stack([learned[tenant][1] for tenant in known]),
    )


def _tenants(reached: Reached, min_tenants: int) -> Iterator[tuple[int, Reached]]:
    """The tenants with the most sessions, and their calls; none if there are fewer than *min_tenants*."""
    tenants, tenant_of = np.unique(reached.tenant, return_inverse=True)
    if tenants.size < min_tenants:
        return
    _, first = np.unique(reached.session, return_index=True)
    sessions = np.bincount(tenant_of[first], minlength=tenants.size)
    for index in np.lexsort((tenants, -sessions))[:MAX_TENANTS].tolist():
        if sessions[index] >= MIN_SESSIONS:
            yield int(tenants[index]), reached.take(np.flatnonzero(tenant_of == index))


def _of_tenant(usual: Floats, reached: Reached) -> tuple[Floats, Ints]:
    """The usual values of one tenant, and from how many sessions each is known; 0 where they are not."""
    own_usual, sessions = np.zeros_like(usual), np.zeros(usual.shape[:2], np.int64)
    for kind in range(1, len(KINDS)):
        of_kind = reached.kind == kind
        for role in range(ROLES + 1):
            cell = np.flatnonzero(of_kind if role == ROLES else of_kind & (reached.role == role))
            count = np.unique(reached.session[cell]).size
            if count >= MIN_SESSIONS and cell.size >= MIN_CALLS:
                own = np.quantile(reached.values[cell], QUANTILES, axis=0).T
                own_usual[kind, role] = shrunk(own, usual[kind, role], count)
                sessions[kind, role] = count
    return own_usual, sessions


def _scaled(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _unscaled(scaled: Floats) -> Floats:
    return np.sign(scaled) * np.expm1(np.abs(scaled))
