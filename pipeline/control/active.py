"""Challengers: models that look on, and the features as their own roles see them.

How surprising a call is depends on roles, and roles belong to a model. Where a challenger's are others than
the champion's, a chunk is folded once more for it, from rows in which what depends on roles is its own. That
is kept here and not in the changelog: after a takeover, and when a challenger is loaded, sessions that live
already are to it as if they had called nothing yet; what begins later it sees from the beginning.
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

_OF_ROLES: Final = ("surprise", "rare")
"""Marks of the fold that depend on roles."""
_SHORT_SUMS: Final = sorted(DECAYED_COUNTERS, key=lambda decayed_counter: decayed_counter.half_life)
_PLACES: Final = [place for place, decayed_counter in enumerate(_SHORT_SUMS) if decayed_counter.increment in _OF_ROLES]
"""Where a row's short-lived sums are of such marks."""
_KEPT: Final = np.dtype(
    [("role_scores", ROW["role_scores"]), ("roles_tag", ROW["roles_tag"]), ("sums", "<f4", (len(_PLACES),))]
)
"""What of a row depends on roles: 44 bytes of a session."""


@dataclass(frozen=True, slots=True)
class Challenger:
    """A detector that looks on, and the roles that belong to it, if any."""

    detector: Detector
    roles: Roles | None = None

    @property
    def id(self) -> str:
        """The model's id."""
        return self.detector.id


class _OwnRoleState:
    """What the rows of a partition would keep if their roles were those of another model."""

    def __init__(self, roles: Roles | None) -> None:
        self._roles = roles
        self._kept: NDArray[Any] = np.zeros(0, _KEPT)

    def fold(self, folded: Folded) -> Folded:
        """Return *folded* as the roles here see it."""
        keys, table = folded.seg.keys, SessionTable()
        self._reach(int(keys[-1]) + 1)
        own = self._kept[keys]
        own[folded.before["started_at"] == 0] = np.zeros((), _KEPT)  # the row was another session's
        table.rows = _with(folded.before, own)
        answer = fold(table, replace(folded.seg, keys=np.arange(keys.size)), folded.batch, self._roles)
        if folded.batch.kind is not Kind.TICK:
            self._kept[keys] = _of(table.rows)
        return answer

    def _reach(self, size: int) -> None:
        if size > self._kept.size:
            grown = np.zeros(max(size, 2 * self._kept.size), _KEPT)
            grown[: self._kept.size] = self._kept
            self._kept = grown


class OwnRoles:
    """Keeps for one partition what challengers' roles need, as long as they are not the champion's."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], _OwnRoleState] = {}

    def seen_by(self, challengers: Sequence[Challenger], champions: Roles | None, folded: Folded) -> list[Folded]:
        """Return a chunk as each of *challengers* sees it; *folded* is how the *champions* roles do."""
        known, self._kept = self._kept, {}
        answer = []
        for challenger in challengers:
            tag = tag_of(challenger.roles)
            if tag == tag_of(champions):
                answer.append(folded)
                continue
            kept = self._kept[challenger.id, tag] = known.get((challenger.id, tag)) or _OwnRoleState(challenger.roles)
            answer.append(kept.fold(folded))
        return answer


def tag_of(roles: Roles | None) -> int:
    """What only these *roles* have, 0 where there are none."""
    return 0 if roles is None else roles.tag


def _with(rows: Rows, own: NDArray[Any]) -> Rows:
    """A copy of *rows* with what depends on roles taken from *own*."""
    copy = rows.copy()
    copy["role_scores"], copy["roles_tag"] = own["role_scores"], own["roles_tag"]
    copy["short_sums"][:, _PLACES] = own["sums"]
    return copy


def _of(rows: Rows) -> NDArray[Any]:
    """What of *rows* depends on roles."""
    own = np.zeros(rows.size, _KEPT)
    own["role_scores"], own["roles_tag"] = rows["role_scores"], rows["roles_tag"]
    own["sums"] = rows["short_sums"][:, _PLACES]
    return own


@dataclass(slots=True)
class ActiveConfig:
    """The judge and the model in force: a detector, and the roles it knows, if any.

    Assigning one is the exchange: a chunk sees one of each.
    """

    judge: PolicyEngine = field(default_factory=lambda: PolicyEngine(Policy()))
    detector: Detector = field(default_factory=NoDetector)
    challengers: tuple[Challenger, ...] = ()
    drift: LiveDrift | None = None
    roles: Roles | None = None

    def use_policy(self, policy: Policy) -> None:
        """Decide by *policy* from the next chunk on."""
        self.judge = PolicyEngine(policy)

    def use_model(self, detector: Detector, roles: Roles | None) -> None:
        """Score by *detector*, and hold sessions against *roles*, from the next chunk on."""
        self.detector, self.roles = detector, roles
