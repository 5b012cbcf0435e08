"""Roles: the sorts of sessions a kind of principal has, which calls follow which in them, how much is usual.

A role is learned from behaviour, not told by a directory (:mod:`models.roles.fit`). While serving, a session
is held against every role of its kind by what it called (:mod:`models.updates.call_sequence`). Everything is an
array: no pickles, and nothing learns here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.events.text_hashing import fingerprint, short
from models.features.table import COUNTER_NAMES, FEATURES
from models.roles.cohorts import QUANTILES, UPPER, BadCohorts, Cohorts, no_cohorts
from models.roles.cohorts import from_arrays as cohorts_from_arrays
from models.state.segments import Bools, Floats, Ints
from models.state.table import ROLES

MOST_OPERATIONS: Final = 255
"""The operations called most have a number of their own, all others share one."""
VOLUMES: Final = tuple(
    feature.name for feature in FEATURES if feature.source == "api-calls" and feature.name in COUNTER_NAMES
)
"""Features of which a role's usual values are known."""
OTHER: Final = 0
"""The number of an operation that has none of its own."""
_NO_COHORTS: Final = no_cohorts(len(VOLUMES))


class RoleTables(NamedTuple):
    """Arrays of :class:`Roles` by their names there; of *usual* the 99 % quantile of each cohort (``upper``).

    Cohort 0 is all tenants, cohort ``1 + t`` is ``tenants[t]``; *own* is where it has its own values.
    """

    tag: int
    vocabulary: NDArray[np.uint32]
    log_p: NDArray[np.float32]
    expected: Floats
    prior: Floats
    rare: Floats
    upper: Floats
    tenants: NDArray[np.uint32]
    own: Bools


class BadRoles(ValueError):
    """Arrays that are no roles; the message says what is wrong with them."""


@dataclass(frozen=True)
class Roles:
    """What was learned, for each kind of principal (:data:`models.events.columns.KINDS`; the first is anybody).

    Attributes:
        operations: names of the V operations with a number, ascending by :func:`numbers_of`, ``(V,)``.
        log_p: natural logarithm of how likely an operation follows another in a role, 0 where there is no
            such role: ``(kinds, V + 2, V + 1, ROLES)``; the one before may also be none (last), at the start.
        prior: logarithm of each role's share of its kind's sessions, -inf for no role, ``(kinds, ROLES)``.
        rare: surprise in nats that one in a thousand of the role's own calls exceeds, ``(kinds, ROLES)``.
        usual: :data:`QUANTILES` of :data:`VOLUMES` at a role's calls, ``(kinds, ROLES + 1, volumes, 3)``; the
            last row is the kind's own, for sessions whose role is not clear yet.
        labels: what to call a role, ``(kinds, ROLES)``.
        cohorts: what is usual at tenants that enough is known of; *usual* is that of all tenants.
    """

    operations: NDArray[np.str_]
    log_p: NDArray[np.float32]
    prior: Floats
    rare: Floats
    usual: Floats
    labels: NDArray[np.str_]
    cohorts: Cohorts = field(default=_NO_COHORTS)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :func:`from_arrays` is the inverse."""
        return {
            "operations": self.operations,
            "log_p": self.log_p,
            "prior": self.prior,
            "rare": self.rare,
            "usual": self.usual,
            "labels": self.labels,
            "volumes": np.array(VOLUMES),
            **self.cohorts.arrays,
        }

    @cached_property
    def tag(self) -> int:
        """32 bits that only these roles have, never 0: rows bear them beside scores that mean these roles."""
        digest = blake2b(digest_size=4)
        for name, array in sorted(self.arrays.items()):
            digest.update(name.encode() + array.tobytes())
        return int.from_bytes(digest.digest(), "little") or 1

    @cached_property
    def vocabulary(self) -> NDArray[np.uint32]:
        """What stands for each operation in a row, ascending, ``(V,)``."""
        return numbers_of(self.operations)

    @cached_property
    def expected(self) -> Floats:
        """Nats of surprise that a role expects after each operation, ``(kinds, V + 2, ROLES)``."""
        known = self.log_p.astype(np.float64)
        answer: Floats = -(np.exp(known) * known).sum(axis=2)
        return answer

    @cached_property
    def upper(self) -> Floats:
        """The 99 % quantiles alone, of all tenants and of each, ``(1 + T, kinds, ROLES + 1, volumes)``."""
        return self.cohorts.upper(self.usual[:, :, :, UPPER])

    @cached_property
    def tables(self) -> RoleTables:
        """What the fold reads."""
        return RoleTables(
            self.tag,
            self.vocabulary,
            self.log_p,
            self.expected,
            self.prior,
            self.rare,
            self.upper,
            self.cohorts.tenants,
            self.cohorts.own,
        )

    def symbols(self, operations: NDArray[np.uint32]) -> Ints:
        """The numbers 1 to V of *operations* as rows keep them, :data:`OTHER` for those without, ``(n,)``."""
        place = np.searchsorted(self.vocabulary, operations)
        place[place == self.vocabulary.size] = 0
        return np.where(self.vocabulary[place] == operations, place + 1, OTHER)

    def name_of(self, operation: int) -> str:
        """The operation that a row keeps as *operation*, empty for one without a number or none."""
        (symbol,) = self.symbols(np.array([operation], np.uint32)).tolist()
        return str(self.operations[symbol - 1]) if symbol != OTHER else ""


NO_ROLES: Final = RoleTables(
    0,
    np.zeros(0, np.uint32),
    np.zeros((0, 0, 0, 0), np.float32),
    np.zeros((0, 0, 0)),
    np.zeros((0, 0)),
    np.zeros((0, 0)),
    np.zeros((0, 0, 0, 0)),
    np.zeros(0, np.uint32),
    np.zeros((0, 0, 0), np.bool_),
)
"""What the fold reads without roles: its vocabulary is empty, which no model's is."""


def numbers_of(operations: NDArray[np.str_] | list[str]) -> NDArray[np.uint32]:
    """What a row keeps of operations: 32 bits of their fingerprint, whichever model is in force."""
    return short(np.array([fingerprint(str(operation)) for operation in operations], np.uint64))


def from_arrays(arrays: dict[str, NDArray[Any]]) -> Roles:
    """The inverse of :attr:`Roles.arrays`.

    Raises:
        BadRoles: an array is missing, of another shape, or about other features than are counted here.
    """
    try:
        volumes = tuple(arrays["volumes"].tolist())
        parts: list[Any] = [arrays[name] for name in ("operations", "log_p", "prior", "rare", "usual", "labels")]
    except KeyError as error:
        raise BadRoles(f"it has no {error}") from error
    if volumes != VOLUMES:
        raise BadRoles(f"it knows what is usual of {len(volumes)} features, here are {len(VOLUMES)} others")
    try:
        parts.append(cohorts_from_arrays(arrays, len(VOLUMES)))
    except BadCohorts as error:
        raise BadRoles(str(error)) from error
    roles = Roles(*parts)
    kinds, size = len(KINDS), roles.operations.size
    shapes = {
        "log_p": (kinds, size + 2, size + 1, ROLES),
        "prior": (kinds, ROLES),
        "rare": (kinds, ROLES),
        "usual": (kinds, ROLES + 1, len(VOLUMES), len(QUANTILES)),
        "labels": (kinds, ROLES),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BadRoles(f"{name} is {arrays[name].shape} where {shape} is due")
    if not 0 < size <= MOST_OPERATIONS or (np.diff(roles.vocabulary.astype(np.int64)) <= 0).any():
        raise BadRoles("its operations are none, too many, or not in order")
    return roles
