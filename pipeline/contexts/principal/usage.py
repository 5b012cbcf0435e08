"""Which scopes, sensitive operations and tools a principal uses, and which everybody has begun to use.

Names are `scope:NAME`, `operation:NAME`, `tool:NAME`, and `unheard:NAME` for an operation that the model in
force does not know. What a principal uses is kept as long as it is among
the last it used, so that the end of a quarter is no surprise when it comes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from models.events.operations import Stage, stages_of
from pipeline.contexts.principal.baseline import brief
from schemas.members import DAY_MS

MOST_USES: Final = 96
FRESH_MS: Final = 3_600_000
"""So long after its first use a name is unfamiliar to its principal."""
CHAIN_DAYS: Final = 3
"""On so many days a principal must have used privileged operations before they are its work."""
POPULAR: Final = 3
"""So many other principals make a name familiar to all: a new release, not an intruder."""
POPULAR_MS: Final = 7 * DAY_MS
MOST_POPULAR: Final = 256


@dataclass(slots=True)
class UsageHistory:
    """What one principal uses: ``{name: [first at, last at, days, taught by session]}``, newest last.

    Sessions and principals stand in short (:func:`pipeline.contexts.principal.baseline.brief`), so that all fits
    into a record.
    """

    names: dict[str, list[Any]] = field(default_factory=dict)

    def see(self, used: Iterable[str], at: int, session_id: str) -> None:
        """A session used these names."""
        for name in used:
            first, last, days, by = self.names.pop(name, [at, at, 0, brief(session_id)])
            another_day = not days or at // DAY_MS > last // DAY_MS
            self.names[name] = [first, max(last, at), days + another_day, by]
        while len(self.names) > MOST_USES:
            del self.names[next(iter(self.names))]

    def forget_session(self, session_id: str) -> None:
        """Forget what this session was the first to use."""
        gone = brief(session_id)
        self.names = {name: seen for name, seen in self.names.items() if seen[3] != gone}

    def unfamiliar(self, session_id: str, at: int) -> list[str]:
        """Names that this session was the first to use, a short while ago."""
        fresh, by = at - FRESH_MS, brief(session_id)
        return [name for name, seen in self.names.items() if seen[3] == by and seen[0] >= fresh]

    def unmodelled(self, event: Mapping[str, Any], fashion: PeerUsage) -> list[str]:
        """What the session of *event* was the first to use, unless many others have begun to use it too."""
        at, principal_id = event["occurred_at"], event["principal_id"]
        new = self.unfamiliar(event["session_id"], at)
        return [name for name in new if not fashion.popular(name, at, principal_id)]

    def signals(self, event: Mapping[str, Any], fashion: PeerUsage) -> list[str]:
        """What the uses of a principal mean for the session of *event*."""
        new = self.unmodelled(event, fashion)
        sorts = {name.partition(":")[0] for name in new}
        regular = self.regular()
        holds = {
            "unfamiliar_use": bool(sorts & {"scope", "operation"}),
            "unfamiliar_tool": "tool" in sorts,
            "chains_usual": len(regular - {Stage.EXPOSE}) > 1,
            "unheard_use": "unheard" in sorts,
            "blinding_usual": Stage.BLIND in regular,
            "sharing_usual": Stage.EXPOSE in regular,
        }
        return [name for name, held in holds.items() if held]

    def regular(self) -> set[Stage]:
        """What this principal does to trust as its regular work."""
        kept = (name.partition(":") for name, (_, _, days, _) in self.names.items() if days >= CHAIN_DAYS)
        return {stage for sort, _, operation in kept if sort == "operation" for stage in stages_of(operation)}


@dataclass(slots=True)
class PeerUsage:
    """What several principals of a tenant use: ``{name: {principal: [last at, session]}}``, newest last.

    It sees the principals of its own partition, so it errs to the careful side.
    """

    names: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def see(self, used: Iterable[str], at: int, principal_id: str, session_id: str) -> bool:
        """A principal used these names; whether that is worth noting, not known already of today."""
        noted, named_name = False, brief(principal_id)
        for name in used:
            users = self.names.get(name, {})
            today = [this_name for this_name, (last, _) in users.items() if last > at - DAY_MS]
            if named_name in today or len(today) > POPULAR:
                continue
            users.pop(named_name, None)
            users[named_name] = [at, brief(session_id)]
            if len(users) > POPULAR + 1:
                del users[next(iter(users))]
            self.names.pop(name, None)
            self.names[name] = users
            noted = True
        while len(self.names) > MOST_POPULAR:
            del self.names[next(iter(self.names))]
        return noted

    def forget_session(self, session_id: str) -> bool:
        """Forget what a revoked session used; whether there was anything."""
        found, gone = False, brief(session_id)
        for users in self.names.values():
            for name in [this_name for this_name, (_, by) in users.items() if by == gone]:
                del users[name]
                found = True
        return found

    def popular(self, name: str, at: int, principal_id: str) -> bool:
        """Whether enough others used *name* in the last days."""
        users, named_name = self.names.get(name, {}), brief(principal_id)
        others = [
            this_name for this_name, (last, _) in users.items() if this_name != named_name and last >= at - POPULAR_MS
        ]
        return len(others) >= POPULAR
