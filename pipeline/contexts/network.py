"""Network context: who has lately failed and who has succeeded to sign in from a network, over all principals.

One session cannot know that forty other sign-ins failed from its network, or that nobody ever signed in from there
before this hour. A session is notified once, by signals; how it signed in does not change afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from models.events.networks import HIDING
from pipeline.contexts.keyed_processor import KeyedProcessor
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.fields import DAY_MS
from schemas.records import NetworkActivityDict
from schemas.topics import NETWORK_ACTIVITY, SESSION_CONTEXT

SOURCES: Final = (NETWORK_ACTIVITY,)
SPRAYED, NEWCOMERS = "sprayed_network", "network_of_newcomers"
WINDOW_MS: Final = 3_600_000
"""Failures and successes within an hour are seen together."""
REGULAR_MS: Final = DAY_MS
"""A user who comes back after so long is a regular one of the network."""
MIN_FAILED: Final = 5
"""Distinct principals that fail in the window and do not get in: fewer are typing errors."""
MIN_NEWCOMERS: Final = 3
"""People who come for the first time in the window, through a network that hides them."""
PER_USER: Final = 2
"""So many of either it takes for each good user: the network of an office or a company's VPN has more of those."""
MAX_USERS: Final = 256
MAX_FAILED: Final = 256
"""As many of both as fit into a changelog record, however long their names are."""
MAX_NETWORKS: Final = 50_000
"""Networks in a partition: the owner of a large IPv6 prefix can fail from more networks than any memory holds."""
KEEP_MS: Final = 30 * DAY_MS
_FAILURES: Final = frozenset({"sign_in_failed", "mfa_denied", "mfa_failed"})

V = TypeVar("V")


class NetworkUser(NamedTuple):
    """A principal that signed in from a network; times in ms.

    *session_id* and *ja4* (TLS fingerprint) are those of the last sign-in, *hidden* whether it was a person in a
    network that hides its users, and *signals* those of which that session was notified.
    """

    first_at: int
    last_at: int
    session_id: str
    ja4: str | None
    hidden: bool
    signals: list[str]


@dataclass(slots=True)
class NetworkState:
    """A network: when each principal last *failed* to sign in, in ms, and the *users* that succeeded."""

    seen_at: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    users: dict[str, NetworkUser] = field(default_factory=dict)


def network_context(
    limits: Limits = DEFAULT_LIMITS, max_records: int = MAX_NETWORKS, *, changelog: bool = True
) -> KeyedProcessor[NetworkState, NetworkActivityDict]:
    """The network context's processor of one partition."""
    return KeyedProcessor(
        state=NetworkState,
        key_field="network",
        handle=_handle,
        keep_ms=KEEP_MS,
        is_in_use=lambda _: False,
        limits=limits,
        max_records=max_records,
        is_low_value=lambda network: not network.users,
        changelog=changelog,
    )


def _handle(_topic: str, network: NetworkState, event: NetworkActivityDict, out: OutcomeBuilder) -> bool:
    _forget_failures(network)
    if event["action"] in _FAILURES:
        _put(network.failed, event["principal_id"], event["occurred_at"], MAX_FAILED)
    else:
        _signed_in(network, event)
    for principal_id, signals, others in list(_suspects(network)):
        user = network.users[principal_id]
        user = user._replace(signals=sorted({*user.signals, *signals}))
        network.users[principal_id] = user
        _notify(event, user, others, out)
    return True


def _forget_failures(network: NetworkState) -> None:
    since = network.seen_at - WINDOW_MS
    network.failed = {principal_id: at for principal_id, at in network.failed.items() if at >= since}


def _put(values: dict[str, V], principal_id: str, value: V, limit: int) -> None:
    """Put *value* last; of more than *limit* values, the first is dropped."""
    values.pop(principal_id, None)
    values[principal_id] = value
    if len(values) > limit:
        del values[next(iter(values))]


def _signed_in(network: NetworkState, event: NetworkActivityDict) -> None:
    at, session_id = event["occurred_at"], event["session_id"]
    before = network.users.get(event["principal_id"])
    user = NetworkUser(
        first_at=at if before is None else min(before.first_at, at),
        last_at=at if before is None else max(before.last_at, at),
        session_id=session_id,
        ja4=event["ja4"],
        hidden=event["principal_kind"] == "human" and event["network_type"] in HIDING,
        signals=[] if before is None or before.session_id != session_id else before.signals,
    )
    _put(network.users, event["principal_id"], user, MAX_USERS)


def _suspects(network: NetworkState) -> Iterator[tuple[str, list[str], int]]:
    """Users whose sessions have new signals: principal, signals, and how many other principals these rest on."""
    since = network.seen_at - WINDOW_MS
    regular = {name for name, user in network.users.items() if user.last_at - user.first_at >= REGULAR_MS}
    recent = {name: user for name, user in network.users.items() if user.last_at >= since and name not in regular}
    failed = len(network.failed.keys() - regular - recent.keys())
    sprayed = _outweigh(failed, len(regular) + len(recent), MIN_FAILED)
    newcomers = {name: user.ja4 for name, user in recent.items() if user.hidden and user.first_at >= since}
    fingerprints = Counter(newcomers.values())
    for name, user in recent.items():
        alike = _count_alike(newcomers[name], fingerprints) if name in newcomers else 0
        shared = _outweigh(alike, len(regular), MIN_NEWCOMERS)
        signals = [SPRAYED] * sprayed + [NEWCOMERS] * shared
        if not set(signals) <= set(user.signals):
            yield name, signals, failed if sprayed else alike


def _outweigh(suspects: int, users: int, minimum: int) -> bool:
    """Whether there are so many *suspects* that good *users* are no reason to trust the network."""
    return suspects >= max(minimum, PER_USER * users)


def _count_alike(ja4: str | None, fingerprints: Counter[str | None]) -> int:
    """How many of the TLS *fingerprints* may be of one client: the same as *ja4*, or not known."""
    return fingerprints.total() if ja4 is None else fingerprints[ja4] + fingerprints[None]


def _notify(event: NetworkActivityDict, user: NetworkUser, others: int, out: OutcomeBuilder) -> None:
    fields = {
        "type": "session.context",
        "event_id": derived_id(event["event_id"], "~w"),
        "occurred_at": event["occurred_at"],
        "tenant": event["tenant"],
        "session_id": user.session_id,
        "source": "network",
        "signals": user.signals,
        "network_principals": others,
    }
    out.send(message(SESSION_CONTEXT, user.session_id, fields))
