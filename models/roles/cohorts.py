"""Cohorts: what is usual in a role at one tenant, where enough of its sessions were learned from.

Two companies that use the same product may differ tenfold in what is usual. A tenant is kept as 32 bits of
its name's fingerprint: whoever is given a model reads no names in it, though whoever guesses a name can look
whether it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.state.segments import Bools, Floats, Ints
from models.state.table import ROLES

MOST_TENANTS: Final = 256
"""Tenants with cohorts of their own: those with most sessions. All others have those of all tenants."""
QUANTILES: Final = (0.5, 0.99, 0.999)
"""Of what sessions usually reach."""
UPPER: Final = QUANTILES.index(0.99)
"""The quantile that sessions are held against."""
NAMES: Final = ("tenants", "tenant_usual", "tenant_sessions")
"""Names of the arrays on disk; where all are missing, no tenant has cohorts of its own."""
_MOST_SESSIONS: Final = 2**53


class BadCohorts(ValueError):
    """Arrays that are no cohorts; the message says what is wrong with them."""


@dataclass(frozen=True)
class Cohorts:
    """What is usual at T tenants.

    Attributes:
        tenants: what :func:`models.events.text_hashing.brief` makes of their names, ascending, ``(T,)``.
        usual: :data:`QUANTILES` of the volumes, as :attr:`models.roles.roles.Roles.usual` has them of all tenants,
            ``(T, kinds, ROLES + 1, volumes, 3)``; 0 where *sessions* is 0.
        sessions: how many each cohort was learned from, 0 where that of all tenants stands in,
            ``(T, kinds, ROLES + 1)``.
    """

    tenants: NDArray[np.uint32]
    usual: Floats
    sessions: Ints

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything by name, nothing where there are none; :func:`from_arrays` is the inverse."""
        row = (self.tenants, self.usual, self.sessions)
        return dict(zip(NAMES, row, strict=True)) if self.tenants.size else {}

    def upper(self, everybody: Floats) -> Floats:
        """What sessions are held against: *everybody* ``(kinds, ROLES + 1, volumes)``, then each tenant's."""
        own = np.where(self.own[1:, :, :, None], self.usual[..., UPPER], everybody)
        return np.ascontiguousarray(np.concatenate([everybody[None], own]))

    @property
    def own(self) -> Bools:
        """Where :meth:`upper` tells the tenant's own, ``(1 + T, kinds, ROLES + 1)``."""
        bools: Bools = np.concatenate([np.zeros((1, *self.sessions.shape[1:]), np.bool_), self.sessions > 0])
        return bools

    @property
    def summary(self) -> list[dict[str, Any]]:
        """A row for each tenant, those with most sessions first: for a model's card."""
        everything = self.sessions[:, :, ROLES].sum(axis=1)
        return [
            {
                "tenant": f"{self.tenants[at]:08x}",
                "sessions": int(everything[at]),
                "roles": int((self.sessions[at, :, :ROLES] > 0).sum()),
                "kinds": [KINDS[kind] for kind in np.flatnonzero(self.sessions[at, :, ROLES]).tolist()],
            }
            for at in np.lexsort((self.tenants, -everything)).tolist()
        ]


def no_cohorts(volumes: int) -> Cohorts:
    """Of a model that tells no tenant from another; of so many *volumes*."""
    cells = (0, len(KINDS), ROLES + 1)
    return Cohorts(np.zeros(0, np.uint32), np.zeros((*cells, volumes, len(QUANTILES))), np.zeros(cells, np.int64))


def from_arrays(arrays: Mapping[str, NDArray[Any]], volumes: int) -> Cohorts:
    """The inverse of :attr:`Cohorts.arrays`, of so many *volumes*; arrays of other names are passed over.

    Raises:
        BadCohorts: one of them is missing, of another type or shape, or holds what nothing can be.
    """
    missing = [name for name in NAMES if name not in arrays]
    if len(missing) == len(NAMES):
        return no_cohorts(volumes)
    if missing:
        raise BadCohorts(f"of what is usual at a tenant it has no {', '.join(missing)}")
    cohorts = Cohorts(*(arrays[name] for name in NAMES))
    count = cohorts.tenants.size
    cells = (count, len(KINDS), ROLES + 1)
    due = {
        "tenants": ((count,), np.uint32),
        "tenant_usual": ((*cells, volumes, len(QUANTILES)), np.float64),
        "tenant_sessions": (cells, np.int64),
    }
    for name, (shape, kind) in due.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != kind:
            raise BadCohorts(f"{name} is {found.dtype} {found.shape} where {np.dtype(kind)} {shape} is due")
    _check(cohorts)
    return cohorts


def _check(cohorts: Cohorts) -> None:
    tenants, usual, sessions = cohorts.tenants, cohorts.usual, cohorts.sessions
    ascending = np.diff(tenants.astype(np.int64), prepend=0) > 0
    if not 0 < tenants.size <= MOST_TENANTS or not ascending.all():
        raise BadCohorts("its tenants are none, too many, or not in order")
    if not np.isfinite(usual).all():
        raise BadCohorts("what is usual at its tenants are not all numbers")
    if not ((sessions >= 0) & (sessions < _MOST_SESSIONS)).all() or not (sessions > 0).any(axis=(1, 2)).all():
        raise BadCohorts("it names a tenant of which it learned nothing")
