"""Roles: the clusters of sessions of a kind of principal, with their call transitions and usual volumes.

A role is learned from behaviour, not read from a directory (:mod:`models.roles.fit`). While serving, a session's calls
are compared with every role of its kind (:mod:`models.updates.call_sequence`). Everything is an array, without pickles,
and nothing is learned here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.events.text_hashing import fingerprint, shortened
from models.features.table import COUNTER_NAMES, FEATURES
from models.roles.cohorts import QUANTILES, UPPER, BadCohorts, Cohorts, no_cohorts
from models.roles.cohorts import from_arrays as cohorts_from_arrays
from models.state.segments import Bools, Floats, Ints
from models.state.table import ROLES

MAX_OPERATIONS: Final = 255
"""The most frequent operations have a number of their own, all others share one."""
VOLUMES: Final = tuple(
    feature.name for feature in FEATURES if feature.source == "api-calls" and feature.name in COUNTER_NAMES
)
"""Features whose usual values are known for a role."""
OTHER: Final = 0
"""The number of an operation that has none of its own."""
_NO_COHORTS: Final = no_cohorts(len(VOLUMES))


class RoleTables(NamedTuple):
    """Arrays of :class:`Roles` by their names there, for compiled code.

    Of *usual* it has the 99 % quantile of each cohort (``upper``): cohort 0 is all tenants, cohort ``1 + t`` is
    ``tenants[t]``; *own* is true where that has its own values.
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
    """Arrays that are not roles; the message says why."""


@dataclass(frozen=True)
class Roles:
    """Everything learned about roles, for each kind of principal (:data:`models.events.columns.KINDS`; 0 is anybody).

    Attributes:
        operations: names of the V operations with a number, ascending by :func:`operation_hashes`, ``(V,)``.
        log_p: natural logarithm of the probability of an operation after a previous one in a role,
            ``(kinds, V + 2, V + 1, ROLES)``; 0 where there is no such role. The last previous one is the start.
        prior: logarithm of each role's share of its kind's sessions, ``(kinds, ROLES)``; -inf for no role.
        rare: surprise in nats that one in a thousand calls of the role exceeds, ``(kinds, ROLES)``.
        usual: :data:`QUANTILES` of :data:`VOLUMES` at a role's calls, ``(kinds, ROLES + 1, volumes, 3)``; the last
            role is the whole kind, for sessions whose role is not clear yet.
        labels: a name for each role, ``(kinds, ROLES)``.
        cohorts: usual values of single tenants; *usual* are those of all tenants.
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
        """32-bit digest, never 0: a row stores it beside values that depend on these roles."""
        digest = blake2b(digest_size=4)
        for name, array in sorted(self.arrays.items()):
            digest.update(name.encode() + array.tobytes())
        return int.from_bytes(digest.digest(), "little") or 1

    @cached_property
    def vocabulary(self) -> NDArray[np.uint32]:
        """Hash of each operation as rows store it, ascending, ``(V,)``."""
        return operation_hashes(self.operations)

    @cached_property
    def expected(self) -> Floats:
        """Expected surprise of a role's next call after each operation, in nats, ``(kinds, V + 2, ROLES)``."""
        known = self.log_p.astype(np.float64)
        return -(np.exp(known) * known).sum(axis=2)

    @cached_property
    def upper(self) -> Floats:
        """The 99 % quantiles of all tenants and of each, ``(1 + T, kinds, ROLES + 1, volumes)``."""
        return self.cohorts.upper(self.usual[:, :, :, UPPER])

    @cached_property
    def tables(self) -> RoleTables:
        """The arrays that the fold reads."""
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
        """The numbers 1 to V of *operations*, given as hashes, or :data:`OTHER`, ``(n,)``."""
        place = np.searchsorted(self.vocabulary, operations)
        place[place == self.vocabulary.size] = 0
        return np.where(self.vocabulary[place] == operations, place + 1, OTHER)

    def name_of(self, operation: int) -> str:
        """The name of the operation with the hash *operation*; "" if it has no number."""
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
"""The arrays that the fold reads without roles; only these have an empty vocabulary."""


def operation_hashes(operations: NDArray[np.str_] | list[str]) -> NDArray[np.uint32]:
    """Hashes of operations as rows store them, whichever model is active: 32 bits of their fingerprint."""
    return shortened(np.array([fingerprint(str(operation)) for operation in operations], np.uint64))


def from_arrays(arrays: dict[str, NDArray[Any]]) -> Roles:
    """The inverse of :attr:`Roles.arrays`.

    Raises:
        BadRoles: an array is missing, has another shape, or is about other features than :data:`VOLUMES`.
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
    if not 0 < size <= MAX_OPERATIONS or (np.diff(roles.vocabulary.astype(np.int64)) <= 0).any():
        raise BadRoles("its operations are none, too many, or not in order")
    return roles
