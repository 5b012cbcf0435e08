"""Cohorts: the usual values of a role at one tenant, for tenants with enough sessions in training.

What is usual at two companies that use the same product may differ tenfold. A tenant is stored as 32 bits of its name's
fingerprint: a model discloses no names, although anybody who guesses a name can check whether it is there.
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

MAX_TENANTS: Final = 256
"""Tenants with cohorts of their own: those with the most sessions. All others have the cohorts of all tenants."""
QUANTILES: Final = (0.5, 0.99, 0.999)
"""Of the volumes that sessions reach."""
UPPER: Final = QUANTILES.index(0.99)
"""Index of the quantile that sessions are compared with."""
NAMES: Final = ("tenants", "tenant_usual", "tenant_sessions")
"""Names of the arrays on disk; if all are missing, no tenant has cohorts of its own."""
_MAX_SESSIONS: Final = 2**53


class BadCohorts(ValueError):
    """Arrays that are not cohorts; the message says why."""


@dataclass(frozen=True)
class Cohorts:
    """The usual values of T tenants.

    Attributes:
        tenants: :func:`models.events.text_hashing.short_fingerprint` of their names, ascending, ``(T,)``.
        usual: :data:`QUANTILES` of the volumes, ``(T, kinds, ROLES + 1, volumes, 3)``; 0 where *sessions* is 0.
            :attr:`models.roles.roles.Roles.usual` has those of all tenants.
        sessions: how many each cohort was learned from, ``(T, kinds, ROLES + 1)``; 0 where that of all tenants is
            used.
    """

    tenants: NDArray[np.uint32]
    usual: Floats
    sessions: Ints

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; empty without tenants. :func:`from_arrays` is the inverse."""
        row = (self.tenants, self.usual, self.sessions)
        return dict(zip(NAMES, row, strict=True)) if self.tenants.size else {}

    def upper(self, all_tenants: Floats) -> Floats:
        """Upper bounds of the usual: *all_tenants* ``(kinds, ROLES + 1, volumes)`` first, then each tenant's."""
        own = np.where(self.own[1:, :, :, None], self.usual[..., UPPER], all_tenants)
        return np.ascontiguousarray(np.concatenate([all_tenants[None], own]))

    @property
    def own(self) -> Bools:
        """Where :meth:`upper` has the tenant's own values, ``(1 + T, kinds, ROLES + 1)``."""
        return np.concatenate([np.zeros((1, *self.sessions.shape[1:]), np.bool_), self.sessions > 0])

    @property
    def summary(self) -> list[dict[str, Any]]:
        """A row for each tenant, the one with the most sessions first, for the model's card."""
        total = self.sessions[:, :, ROLES].sum(axis=1)
        return [
            {
                "tenant": f"{self.tenants[index]:08x}",
                "sessions": int(total[index]),
                "roles": int((self.sessions[index, :, :ROLES] > 0).sum()),
                "kinds": [KINDS[kind] for kind in np.flatnonzero(self.sessions[index, :, ROLES]).tolist()],
            }
            for index in np.lexsort((self.tenants, -total)).tolist()
        ]


def no_cohorts(volumes: int) -> Cohorts:
    """Cohorts of a model without any, for *volumes* volumes."""
    cells = (0, len(KINDS), ROLES + 1)
    return Cohorts(np.zeros(0, np.uint32), np.zeros((*cells, volumes, len(QUANTILES))), np.zeros(cells, np.int64))


def from_arrays(arrays: Mapping[str, NDArray[Any]], volumes: int) -> Cohorts:
    """The inverse of :attr:`Cohorts.arrays`, for *volumes* volumes; arrays of other names are ignored.

    Raises:
        BadCohorts: one of them is missing, has another type or shape, or values that are not possible.
    """
    missing = [name for name in NAMES if name not in arrays]
    if len(missing) == len(NAMES):
        return no_cohorts(volumes)
    if missing:
        raise BadCohorts(f"of what is usual at a tenant it has no {', '.join(missing)}")
    cohorts = Cohorts(*(arrays[name] for name in NAMES))
    count = cohorts.tenants.size
    cells = (count, len(KINDS), ROLES + 1)
    expected = {
        "tenants": ((count,), np.uint32),
        "tenant_usual": ((*cells, volumes, len(QUANTILES)), np.float64),
        "tenant_sessions": (cells, np.int64),
    }
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise BadCohorts(f"{name} is {found.dtype} {found.shape} where {np.dtype(dtype)} {shape} is due")
    _check(cohorts)
    return cohorts


def _check(cohorts: Cohorts) -> None:
    tenants, usual, sessions = cohorts.tenants, cohorts.usual, cohorts.sessions
    ascending = np.diff(tenants.astype(np.int64), prepend=0) > 0
    if not 0 < tenants.size <= MAX_TENANTS or not ascending.all():
        raise BadCohorts("its tenants are none, too many, or not in order")
    if not np.isfinite(usual).all():
        raise BadCohorts("what is usual at its tenants are not all numbers")
    if not ((sessions >= 0) & (sessions < _MAX_SESSIONS)).all() or not (sessions > 0).any(axis=(1, 2)).all():
        raise BadCohorts("it names a tenant of which it learned nothing")
