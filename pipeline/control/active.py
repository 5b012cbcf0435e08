"""Configuration in force: the policy, the champion model, and the challengers that score beside it.

How surprising a call is depends on roles, and roles belong to a model. If a challenger has other roles than the
champion, a chunk is folded once more for it, from rows in which everything that depends on roles is the challenger's
own. That part is kept in memory and not in the changelog: after a takeover, and when a challenger is loaded, live
sessions look to the challenger as if they had not called anything yet; it sees later sessions from their beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Detector, NoDetector
from models.events.batch import Kind
from models.features.table import DECAYED_COUNTERS
from models.roles.roles import Roles
from models.state.table import ROW, Rows, SessionTable
from models.updates.fold import Folded, fold
from pipeline.control.drift import LiveDrift
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.policy import Policy

_ROLE_INCREMENTS: Final = ("surprise", "rare")
"""Increments of the fold that depend on roles."""
_SHORT_SUMS: Final = sorted(DECAYED_COUNTERS, key=lambda counter: counter.half_life)
_ROLE_SUMS: Final = [index for index, counter in enumerate(_SHORT_SUMS) if counter.increment in _ROLE_INCREMENTS]
"""The indexes in a row's ``short_sums`` of the counters with such increments."""
_ROLE_STATE: Final = np.dtype(
    [("role_scores", ROW["role_scores"]), ("roles_tag", ROW["roles_tag"]), ("sums", "<f4", (len(_ROLE_SUMS),))]
)
"""The part of a row that depends on roles: 44 bytes for each session."""


@dataclass(frozen=True, slots=True)
class Challenger:
    """A model that scores beside the champion and decides nothing: a detector, and its roles, if it has any."""

    detector: Detector
    roles: Roles | None = None

    @property
    def id(self) -> str:
        """The model's id."""
        return self.detector.id


class _RoleState:
    """The part of a partition's rows that depends on roles, for the roles of one challenger."""

    def __init__(self, roles: Roles | None) -> None:
        self._roles = roles
        self._rows: NDArray[Any] = np.zeros(0, _ROLE_STATE)

    def fold(self, folded: Folded) -> Folded:
        """Fold the chunk of *folded* again with these roles."""
        keys, table = folded.seg.keys, SessionTable()
        self._grow(int(keys[-1]) + 1)
        own = self._rows[keys]
        own[folded.before["started_at"] == 0] = np.zeros((), _ROLE_STATE)  # the row was another session's
        table.rows = _with_role_state(folded.before, own)
        refolded = fold(table, replace(folded.seg, keys=np.arange(keys.size)), folded.batch, self._roles)
        if folded.batch.kind is not Kind.TICK:
            self._rows[keys] = _role_state(table.rows)
        return refolded

    def _grow(self, size: int) -> None:
        if size > self._rows.size:
            grown = np.zeros(max(size, 2 * self._rows.size), _ROLE_STATE)
            grown[: self._rows.size] = self._rows
            self._rows = grown


class ChallengerRoles:
    """What the challengers of one partition need to see chunks by roles that are not the champion's."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], _RoleState] = {}

    def refold(self, challengers: Sequence[Challenger], champion_roles: Roles | None, folded: Folded) -> list[Folded]:
        """A chunk as each of *challengers* sees it, where *folded* is how it is by the champion's roles."""
        before, self._states = self._states, {}
        refolded = []
        for challenger in challengers:
            tag = tag_of(challenger.roles)
            if tag == tag_of(champion_roles):
                refolded.append(folded)
                continue
            key = challenger.id, tag
            state = self._states[key] = before.get(key) or _RoleState(challenger.roles)
            refolded.append(state.fold(folded))
        return refolded


def tag_of(roles: Roles | None) -> int:
    """The number that only these *roles* have, 0 for none."""
    return 0 if roles is None else roles.tag


def _with_role_state(rows: Rows, own: NDArray[Any]) -> Rows:
    """A copy of *rows* with the part that depends on roles taken from *own*."""
    copy = rows.copy()
    copy["role_scores"], copy["roles_tag"] = own["role_scores"], own["roles_tag"]
    copy["short_sums"][:, _ROLE_SUMS] = own["sums"]
    return copy


def _role_state(rows: Rows) -> NDArray[Any]:
    """The part of *rows* that depends on roles."""
    own = np.zeros(rows.size, _ROLE_STATE)
    own["role_scores"], own["roles_tag"] = rows["role_scores"], rows["roles_tag"]
    own["sums"] = rows["short_sums"][:, _ROLE_SUMS]
    return own


@dataclass(slots=True)
class ActiveConfig:
    """The policy engine and the models in force.

    A change takes effect by assignment to one of the fields: every chunk is processed with one value of each.
    """

    engine: PolicyEngine = field(default_factory=lambda: PolicyEngine(Policy()))
    detector: Detector = field(default_factory=NoDetector)
    challengers: tuple[Challenger, ...] = ()
    drift: LiveDrift | None = None
    roles: Roles | None = None

    def use_policy(self, policy: Policy) -> None:
        """Decide by *policy* from the next chunk on."""
        self.engine = PolicyEngine(policy)

    def use_model(self, detector: Detector, roles: Roles | None) -> None:
        """Score by *detector*, and compare sessions with *roles*, from the next chunk on."""
        self.detector, self.roles = detector, roles
