"""Network context: who lately failed and who succeeded to sign in from a network, over all principals.

One session cannot know that forty others failed beside it, or that nobody ever signed in from there before
this hour. Sessions hear of it once, as signals; how a session was signed in to does not change afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from models.events.networks import HIDING
from pipeline.contexts.keyed_processor import KeyedProcessor
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.stored_fields import known_fields
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS
from schemas.topics import NETWORK_ACTIVITY, SESSION_CONTEXT

SOURCES: Final = (NETWORK_ACTIVITY,)
SPRAYED, NEWCOMERS = "sprayed_network", "network_of_newcomers"
WINDOW_MS: Final = 3_600_000
"""What happened together: failures and successes within an hour."""
AT_HOME_MS: Final = DAY_MS
"""Whoever comes back after so long is at home in the network."""
LEAST_FAILED: Final = 5
"""Distinct principals that fail in the window and do not get in: fewer are typing errors."""
LEAST_NEWCOMERS: Final = 3
"""People who come for the first time in the window, through a network that hides them."""
PER_USER: Final = 2
"""So many of either there must be for each good user: an office or a company's VPN has more of those."""
MOST_USERS: Final = 256
MOST_FAILED: Final = 256
"""As many of both as fit into a changelog record, however long their names are."""
MOST_NETWORKS: Final = 50_000
"""Held in a partition: whoever owns a large IPv6 prefix can fail from more networks than anybody can hold."""
KEEP_MS: Final = 30 * DAY_MS
_FAILURES: Final = frozenset({"sign_in_failed", "mfa_denied", "mfa_failed"})


@dataclass(slots=True)
class NetworkState:
    """A network; times in ms of event time.

    *failed* maps principals to when they last failed. *users* maps those who signed in to ``[first, last,
    session of the last, its JA4, whether a person behind a hiding network, signals told to the session]``.
    """

    seen_at: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    users: dict[str, list[Any]] = field(default_factory=dict)


def network_context(limits: Limits = DEFAULT_LIMITS, most: int = MOST_NETWORKS) -> KeyedProcessor[NetworkState]:
    """The network stage of one partition."""
    return KeyedProcessor(
        member="network",
        create=NetworkState,
        load=lambda fields: NetworkState(**known_fields(NetworkState, fields)),
        handle=_handle,
        keep_ms=KEEP_MS,
        is_in_use=lambda _: False,
        limits=limits,
        max_records=most,
        is_low_value=lambda network: not network.users,
    )


def _handle(_topic: str, network: NetworkState, event: dict[str, Any], out: OutcomeBuilder) -> bool:
    _forget_failures(network)
    if event["action"] in _FAILURES:
        _note(network.failed, event["principal_id"], event["occurred_at"], MOST_FAILED)
    else:
        _welcome(network, event)
    for principal_id, signals, others in _suspects(network):
        user = network.users[principal_id]
        user[5] = sorted({*user[5], *signals})
        _tell(event, user, others, out)
    return True


def _forget_failures(network: NetworkState) -> None:
    since = network.seen_at - WINDOW_MS
    network.failed = {name: at for name, at in network.failed.items() if at >= since}


def _note(held: dict[str, Any], principal_id: str, value: Any, most: int) -> None:
    """Hold *value* as the newest; the oldest of too many is forgotten."""
    held.pop(principal_id, None)
    held[principal_id] = value
    if len(held) > most:
        del held[next(iter(held))]


def _welcome(network: NetworkState, event: dict[str, Any]) -> None:
    subject, at, session_id = event["principal_id"], event["occurred_at"], event["session_id"]
    hidden = event["principal_kind"] == "human" and event["network_type"] in HIDING
    first, last, session_before, *_, details = network.users.get(subject, [at, at, session_id, None, hidden, []])
    if session_id != session_before:
        details = []
    user = [min(first, at), max(last, at), session_id, event["ja4"], hidden, details]
    _note(network.users, subject, user, MOST_USERS)


def _suspects(network: NetworkState) -> Iterator[tuple[str, list[str], int]]:
    """Users whose sessions have something new to hear: principal, signals, how many others they rest on."""
    since = network.seen_at - WINDOW_MS
    at_home = {named_name for named_name, user in network.users.items() if user[1] - user[0] >= AT_HOME_MS}
    lately = {
        named_name: user for named_name, user in network.users.items() if user[1] >= since and named_name not in at_home
    }
    failed = len(network.failed.keys() - at_home - lately.keys())
    sprayed = _outweigh(failed, len(at_home) + len(lately), LEAST_FAILED)
    newcomers = {named_name: user[3] for named_name, user in lately.items() if user[4] and user[0] >= since}
    shown = Counter(newcomers.values())
    for name, user in lately.items():
        alike = _alike(newcomers[name], shown) if name in newcomers else 0
        shared = _outweigh(alike, len(at_home), LEAST_NEWCOMERS)
        signals = [SPRAYED] * sprayed + [NEWCOMERS] * shared
        if not set(signals) <= set(user[5]):
            yield name, signals, failed if sprayed else alike


def _outweigh(suspects: int, users: int, least: int) -> bool:
    """Whether there are so many *suspects* that good *users* are no reason to think well of the network."""
    return suspects >= max(least, PER_USER * users)


def _alike(ja4: str | None, shown: Counter[str | None]) -> int:
    """How many of the *shown* TLS fingerprints may be one client's: the same, or not told."""
    return shown.total() if ja4 is None else shown[ja4] + shown[None]


def _tell(event: dict[str, Any], user: list[Any], others: int, out: OutcomeBuilder) -> None:
    members = {
        "type": "session.context",
        "event_id": derived_id(event["event_id"], "~w"),
        "occurred_at": event["occurred_at"],
        "tenant": event["tenant"],
        "session_id": user[2],
        "source": "network",
        "signals": user[5],
        "network_principals": others,
    }
    out.send(message(SESSION_CONTEXT, user[2], members))
