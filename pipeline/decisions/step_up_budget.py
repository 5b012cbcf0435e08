"""The step-up budget: how strong suspicions must be in each tenant, learned from the step-ups that its people pass.

Every company has honest habits that look suspicious, and no weight of evidence is right in all of them. A passed
step-up says that the suspicion was wrong. So each raises its tenant's threshold by a step, and every hour of use lowers
it by as much as the budget allows: where people pass more step-ups per hour than the budget says, suspicions must be
stronger. This is adaptive conformal inference (Gibbs and Candès 2021): whatever the traffic is, over a long time the
rate of wrong step-ups does not exceed the budget by more than the largest threshold divided by step and hours.

Facts are not touched. A person moves the threshold once a day, so that somebody who can pass step-ups, such as a thief
with a factor, cannot make a tenant blind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydantic_core import to_json

from models.events.columns import KINDS
from models.state.table import ENDED, REVOKED, SessionTable, UnreadableRow, split, tenant_of
from pipeline.decisions.policy import BudgetLimits
from pipeline.times import HOUR_MS
from schemas.fields import DAY_MS

COUNT_MS: Final = HOUR_MS // 6
"""Hours of use are counted this often, in ms of event time."""
IN_USE_MS: Final = HOUR_MS
"""A session is in use for this long after its last event."""
MAX_PEOPLE: Final = 1_000
"""People of a tenant that are remembered as having moved its threshold; the one who did so first is forgotten."""
MAX_TENANTS: Final = 10_000
"""Tenants with a threshold above zero in a partition; the one that changed first is forgotten."""
_PERSON: Final = KINDS.index("human")


@dataclass(slots=True)
class TenantThreshold:
    """The threshold of one tenant: *raised* log-odds, hours counted until *counted_at*, and who moved it when (ms)."""

    raised: float
    counted_at: int
    moved: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """JSON."""
        return to_json({"raised": self.raised, "counted_at": self.counted_at, "moved": self.moved})

    @classmethod
    def decode(cls, encoded: bytes) -> TenantThreshold:
        """The inverse of :meth:`encode`.

        Raises:
            UnreadableRow: *encoded* is not what this version writes.
        """
        try:
            stored = json.loads(encoded)
            moved = {str(person): int(at) for person, at in stored["moved"].items()}
            return cls(float(stored["raised"]), int(stored["counted_at"]), moved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"[:120]
            raise UnreadableRow(f"a tenant's threshold that cannot be read ({why})") from error


class StepUpBudget:
    """The thresholds of one partition's tenants; a tenant without one has the threshold 0."""

    def __init__(self) -> None:
        self.thresholds: dict[str, TenantThreshold] = {}
        self.changed: set[str] = set()
        """Tenants whose threshold was changed or forgotten since it was written."""

    def raised(self, tenant: str, limits: BudgetLimits) -> float:
        """By how much log-odds suspicions of *tenant* are to be stronger; limits that were lowered count at once."""
        threshold = self.thresholds.get(tenant)
        return min(threshold.raised, limits.max_raise) if threshold and limits.raise_by else 0.0

    def refuted(self, tenant: str, principal_id: str, at_ms: int, limits: BudgetLimits) -> None:
        """*principal_id* passed a step-up that rested on suspicion."""
        if not limits.raise_by:
            return
        threshold = self.thresholds.pop(tenant, None) or TenantThreshold(0.0, at_ms)
        self.thresholds[tenant] = threshold
        threshold.moved = {person: at for person, at in threshold.moved.items() if at > at_ms - DAY_MS}
        if principal_id not in threshold.moved:
            threshold.raised = min(threshold.raised + limits.raise_by, limits.max_raise)
            threshold.moved[principal_id] = at_ms
        for forgotten in [*threshold.moved][:-MAX_PEOPLE]:
            del threshold.moved[forgotten]
        self.changed.add(tenant)
        for former in [*self.thresholds][:-MAX_TENANTS]:
            del self.thresholds[former]
            self.changed.add(former)

    def is_due(self, was_ms: int, at_ms: int) -> bool:
        """Whether hours are to be counted when the watermark moves from *was_ms* to *at_ms*."""
        return bool(self.thresholds) and at_ms // COUNT_MS > was_ms // COUNT_MS

    def count(self, in_use: Mapping[str, int], at_ms: int, limits: BudgetLimits) -> None:
        """Lower the thresholds by the hours of use until *at_ms*; *in_use*: people's sessions in use, by tenant."""
        for tenant in list(self.thresholds):
            threshold = self.thresholds[tenant]
            hours = max(0, at_ms - threshold.counted_at) / HOUR_MS * in_use.get(tenant, 0)
            paid = hours * limits.step_ups_per_1000_hours / 1000 * limits.raise_by
            threshold.raised = min(threshold.raised, limits.max_raise) - paid
            threshold.counted_at = max(at_ms, threshold.counted_at)
            if threshold.raised <= 0 or not limits.raise_by:
                del self.thresholds[tenant]
            self.changed.add(tenant)

    def rows(self) -> list[tuple[str, bytes | None]]:
        """What has changed since the last call: tenant and threshold, None if it is 0."""
        changed = [
            (tenant, self.thresholds[tenant].encode() if tenant in self.thresholds else None)
            for tenant in sorted(self.changed)
        ]
        self.changed.clear()
        return changed

    def restore(self, rows: Iterable[tuple[str, bytes | None]]) -> None:
        """Apply rows of :meth:`rows`, oldest first.

        Raises:
            UnreadableRow: one cannot be read.
        """
        for tenant, row in rows:
            self.thresholds.pop(tenant, None)
            if row is not None:
                self.thresholds[tenant] = TenantThreshold.decode(row)


def people_in_use(table: SessionTable, at_ms: int) -> dict[str, int]:
    """How many sessions of people were used within the last :data:`IN_USE_MS`, by tenant."""
    rows = table.rows[: table.used]
    live = (rows["started_at"] != 0) & (rows["flags"] & (REVOKED | ENDED) == 0)
    used = live & (rows["kind"] == _PERSON) & (rows["client_at"] > at_ms - IN_USE_MS)
    tenants = Counter(tenant_of(table.names[row]) for row in np.flatnonzero(used).tolist())
    return {split(tenant)[0]: count for tenant, count in tenants.items()}
