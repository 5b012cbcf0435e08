"""The guard against revoking everybody: a budget of revocations, and a look at whether all fell silent.

Each partition keeps its own share, so the answer depends on nothing but the partition's own events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.policy import GuardRules

MINUTE_MS: Final = 60_000
BACK_MS: Final = 5 * MINUTE_MS
"""How long after a fleet was silent its last devices may take to be heard again."""
NORMAL, HOLDING, FLEET_SILENT = 0, 1, 2


@dataclass(slots=True)
class Guard:
    """One partition's share of the budget of each tenant.

    Attributes:
        rules: the policy's bounds.
        share: this partition's part of them, in (0, 1].
        state: what it last answered, for the metric.
    """

    rules: GuardRules
    share: float
    state: int = NORMAL
    _minute: int = 0
    _spent: dict[str, int] = field(default_factory=dict)
    _silent: dict[str, int] = field(default_factory=dict)
    _unheard: dict[str, int] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Revocations a tenant may have in this partition in one minute of event time; at least one."""
        return max(1, math.ceil(self.rules.revocations_per_minute * self.share))

    def admit(self, tenant: str, at: int) -> bool:
        """Spend one revocation of *tenant*, if there is one left in the minute that was reached by *at* ms.

        Minutes do not run back: a late event spends what is left now.
        """
        if at // MINUTE_MS > self._minute:
            self._minute = at // MINUTE_MS
            self._spent.clear()
            self.state = NORMAL if self.state == HOLDING else self.state
        spent = self._spent.get(tenant, 0)
        if spent >= self.budget:
            self.state = HOLDING
            return False
        self._spent[tenant] = spent + 1
        return True

    def silent_among(
        self, fleets: Mapping[str, tuple[int, int]], at: int, together: Mapping[str, int] | None = None
    ) -> frozenset[str]:
        """Which tenants have, or had a short while before *at* ms, too many silent devices for attacks.

        *fleets*: of each tenant how many devices with live sessions are silent, and how many there are;
        *together*: how many of them, in use, fell silent in the same moment. When telemetry comes back, it
        does so device by device: the last ones are not attacked either. Of which tenants not a single one is
        heard, or some fell silent together, is kept for :meth:`is_unheard`.
        """
        least, share = self.rules.silent_fleet_least, self.rules.silent_fleet_share
        found = [one for one, (gone, all_) in fleets.items() if gone >= least and gone >= all_ * share]
        unheard = [one for one, (gone, all_) in fleets.items() if gone >= all_]
        unheard += [one for one, gone in (together or {}).items() if gone >= least]
        self._unheard = {one: until for one, until in self._unheard.items() if until > at}
        self._unheard |= dict.fromkeys(unheard, at + BACK_MS)
        self._silent = {one: until for one, until in self._silent.items() if until > at}
        self._silent |= dict.fromkeys(found, at + BACK_MS)
        if self._silent:
            self.state = FLEET_SILENT
        elif self.state == FLEET_SILENT:
            self.state = NORMAL
        return frozenset(self._silent)

    def is_unheard(self, tenant: str) -> bool:
        """Whether all devices of *tenant* are silent, however few, or some are that fell silent together.

        Or were a short while ago. Then nothing shows that what they say could be heard here.
        """
        return tenant in self._unheard


def next_minute(at: int) -> int:
    """When a held revocation may ask again, ms."""
    return (at // MINUTE_MS + 1) * MINUTE_MS
