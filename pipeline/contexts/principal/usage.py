"""Usage of scopes, sensitive operations and tools: by one principal, and by its peers in the tenant.

Names are `scope:NAME`, `operation:NAME`, `tool:NAME`, and `unheard:NAME` for an operation that the champion model does
not know. A principal's names are kept for as long as they are among the last it used, so that the work at the end of a
quarter is no surprise when it comes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models.events.operations import Stage, stages_of
from pipeline.contexts.principal.baseline import short_id
from schemas.fields import DAY_MS
from schemas.records import PrincipalActivityDict

MAX_NAMES: Final = 96
UNFAMILIAR_MS: Final = 3_600_000
"""So long after its first use a name is unfamiliar to its principal."""
REGULAR_DAYS: Final = 3
"""On so many days a principal must have used a privileged operation before it is its regular work."""
MIN_PEERS: Final = 3
"""So many other principals that use a name make it familiar to all: a new release, not an intruder."""
PEERS_MS: Final = 7 * DAY_MS
MAX_PEER_NAMES: Final = 256


class NameUse(NamedTuple):
    """When a name was first and last used (ms), on how many days, and the short id of the session that began it."""

    first_at: int
    last_at: int
    days: int
    session: str


class PeerUse(NamedTuple):
    """When a principal last used a name (ms), and the short id of the session."""

    last_at: int
    session: str


@dataclass(slots=True)
class UsageHistory:
    """The names that one principal uses, the last used last. Session ids are shortened, so that all fits a record."""

    names: dict[str, NameUse] = field(default_factory=dict)

    def add(self, used: Iterable[str], at_ms: int, session_id: str) -> None:
        """Add the names that a session used."""
        for name in used:
            first, last, days, session = self.names.pop(name, NameUse(at_ms, at_ms, 0, short_id(session_id)))
            another_day = not days or at_ms // DAY_MS > last // DAY_MS
            self.names[name] = NameUse(first, max(last, at_ms), days + another_day, session)
        while len(self.names) > MAX_NAMES:
            del self.names[next(iter(self.names))]

    def forget_session(self, session_id: str) -> None:
        """Forget the names that this session was the first to use."""
        forgotten = short_id(session_id)
        self.names = {name: use for name, use in self.names.items() if use.session != forgotten}

    def unfamiliar(self, session_id: str, at_ms: int) -> list[str]:
        """Names that this session was the first to use, a short while ago."""
        since, session = at_ms - UNFAMILIAR_MS, short_id(session_id)
        return [name for name, use in self.names.items() if use.session == session and use.first_at >= since]

    def unusual(self, event: PrincipalActivityDict, peers: PeerUsage) -> list[str]:
        """Names that the session of *event* was the first to use, without those that many *peers* use, too."""
        at, principal_id = event["occurred_at"], event["principal_id"]
        unfamiliar = self.unfamiliar(event["session_id"], at)
        return [name for name in unfamiliar if not peers.is_popular(name, at, principal_id)]

    def signals(self, event: PrincipalActivityDict, peers: PeerUsage) -> list[str]:
        """The signals that follow for the session of *event*."""
        namespaces = {name.partition(":")[0] for name in self.unusual(event, peers)}
        regular = self.regular_stages()
        holds = {
            "unfamiliar_use": bool(namespaces & {"scope", "operation"}),
            "unfamiliar_tool": "tool" in namespaces,
            "chains_usual": len(regular - {Stage.EXPOSE}) > 1,
            "unheard_use": "unheard" in namespaces,
            "blinding_usual": Stage.BLIND in regular,
            "sharing_usual": Stage.EXPOSE in regular,
        }
        return [name for name, held in holds.items() if held]

    def regular_stages(self) -> set[Stage]:
        """The stages of an attack that are this principal's regular work."""
        names = (name.partition(":") for name, use in self.names.items() if use.days >= REGULAR_DAYS)
        return {
            stage for namespace, _, operation in names if namespace == "operation" for stage in stages_of(operation)
        }


@dataclass(slots=True)
class PeerUsage:
    """The principals of a tenant that use each name, by short id; the last used last.

    It sees the principals of its own partition only, so it takes fewer names for popular, never more.
    """

    names: dict[str, dict[str, PeerUse]] = field(default_factory=dict)

    def add(self, used: Iterable[str], at_ms: int, principal_id: str, session_id: str) -> bool:
        """Add the names that a principal used; returns whether any of that was not known of the last day."""
        changed, principal = False, short_id(principal_id)
        for name in used:
            users = self.names.get(name, {})
            recent = [user for user, use in users.items() if use.last_at > at_ms - DAY_MS]
            if principal in recent or len(recent) > MIN_PEERS:
                continue
            users.pop(principal, None)
            users[principal] = PeerUse(at_ms, short_id(session_id))
            if len(users) > MIN_PEERS + 1:
                del users[next(iter(users))]
            self.names.pop(name, None)
            self.names[name] = users
            changed = True
        while len(self.names) > MAX_PEER_NAMES:
            del self.names[next(iter(self.names))]
        return changed

    def forget_session(self, session_id: str) -> bool:
        """Forget what a revoked session used; returns whether there was anything."""
        found, forgotten = False, short_id(session_id)
        for users in self.names.values():
            for principal in [principal for principal, use in users.items() if use.session == forgotten]:
                del users[principal]
                found = True
        return found

    def is_popular(self, name: str, at_ms: int, principal_id: str) -> bool:
        """Whether enough other principals used *name* in the last days."""
        users, own = self.names.get(name, {}), short_id(principal_id)
        peers = [user for user, use in users.items() if user != own and use.last_at >= at_ms - PEERS_MS]
        return len(peers) >= MIN_PEERS
