"""A chunk of decoded events turned into numbers for the fold; the events are kept for explanations.

An event becomes a record for each thing it tells of (:class:`ByKind`); what it does not carry is 0 there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.context_columns import CONTEXT_TOLD, context_columns
from models.fingerprint import BETWEEN, Fingerprints, hash_ids, short
from models.memory import Memory
from models.operations import is_guarded, is_powerful, stage_of
from models.software import software_of
from schemas.told import Told

Event = dict[str, Any]
Structs = NDArray[Any]
"""Records of one of the types below."""


class Kind(IntEnum):
    """What sort of event a line of the chunk is."""

    TICK = 0
    AUTH = 1
    CALL = 2
    CONTEXT = 3
    VERDICT = 4


CLIENT: Final = ("network", "prefix", "ua", "family", "ja4", "token", "key", "device")
"""Fingerprints of the client, in the order of a row's ``client``; the network is its number."""
NETWORK, PREFIX, UA, FAMILY, JA4, TOKEN, KEY, DEVICE = range(len(CLIENT))
AUTH_ACTIONS: Final = (
    "sign_in", "sign_in_failed", "mfa_challenged", "mfa_passed", "mfa_denied", "step_up_passed",
    "token_issued", "token_refreshed", "token_exchanged", "token_reused", "credential_added",
    "credential_changed", "credential_removed", "recovery_started", "sign_out", "mfa_failed", "other",
)  # fmt: skip
ACTION: Final = {name: number for number, name in enumerate(AUTH_ACTIONS, start=1)}
FACTOR_CHANGES: Final = ("credential_added", "credential_changed", "credential_removed", "recovery_started")
"""Actions that change how a principal proves itself."""
KINDS: Final = ("", "human", "service", "api_key", "agent")
PRINCIPAL_KIND: Final = {name: number for number, name in enumerate(KINDS)}
NETWORK_TYPES: Final = ("", "wifi", "cellular", "ethernet", "vpn", "hosting", "tor", "unknown")
NETWORK_TYPE: Final = {name: number for number, name in enumerate(NETWORK_TYPES)} | {None: 0}
SENSITIVITY: Final = {None: 0, "public": 0, "internal": 1, "confidential": 2, "restricted": 3}
SIM_BORNE: Final = frozenset({"sms", "tel"})
"""RFC 8176 §2: factors that reach whoever holds the SIM."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS", "READ"})


IDENTITY: Final = np.dtype(
    [
        ("key", "<u8"),
        ("address", "<u8"),
        ("client", "<u4", (len(CLIENT),)),
        ("country", "<u4"),
        ("kind", "u1"),
        ("network_type", "u1"),
        ("software", "u1"),
    ]
)
"""What the strings of an event say of session and client, as numbers; the same for hours, so remembered."""
ACT: Final = np.dtype(
    [
        ("operation", "<u8"), ("tool", "<u8"), ("called", "<u4"), ("stage", "u1"), ("sensitive", "?"),
        ("guarded", "?"), ("writing", "?"),
    ]
)  # fmt: skip
"""What an API call does, as numbers; *called* is the operation by its name alone, as roles know it."""
CLIENT_TOLD: Final = np.dtype([("who", IDENTITY), ("place", "<f4", (2,))])
"""What auth events and API calls tell of who is there; the place is NaN where it is not known."""
CALL_TOLD: Final = np.dtype(
    [
        ("act", ACT), ("resource", "<u8"), ("bytes_out", "<f8"), ("records", "<f8"), ("failed", "?"),
        ("denied", "?"), ("refused", "?"),
    ]
)  # fmt: skip
"""What an API call did, and how it was answered."""
AUTH_TOLD: Final = np.dtype([("action", "i1"), ("by_sim", "?"), ("powerful", "?")])
VERDICT_TOLD: Final = np.dtype([("confirmed", "?")])


class ByKind(NamedTuple):
    """What the events of a chunk tell, ``(n,)`` each, or ``(0,)`` for what their kind does not tell."""

    client: Structs
    auth: Structs
    call: Structs
    context: Structs
    verdict: Structs


_NOTHING: Final = ByKind(
    *(np.zeros(0, kind) for kind in (CLIENT_TOLD, AUTH_TOLD, CALL_TOLD, CONTEXT_TOLD, VERDICT_TOLD))
)


@dataclass(slots=True)
class Batch:
    """One chunk as columns; see the module's docstring for shapes and absent values."""

    events: Sequence[Event]
    kind: Kind
    keys: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    at: NDArray[np.int64]
    told: ByKind = _NOTHING

    def __len__(self) -> int:
        return len(self.events)

    def event_id(self, place: int) -> str:
        """The id of the event at *place* in order of arrival, without reading the whole of it again."""
        events = self.events
        return str(events.rows[place][_ID_AT] if isinstance(events, Told) else events[place]["event_id"])

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """The same batch with only the *chosen* events, in that order."""
        indexes = chosen.tolist()
        if isinstance(self.events, Told):
            events: Sequence[Event] = self.events.chosen(indexes)
        else:
            events = [self.events[index] for index in indexes]
        told = ByKind(*(part[chosen] if part.size else part for part in self.told))
        return Batch(events, self.kind, self.keys[chosen], self.ids[chosen], self.at[chosen], told)


_VERSION: Final = re.compile(r"[\d._]+")
_WHO: Final = (
    "tenant", "session_id", "principal_kind", "device_id", "ip", "network_type", "user_agent", "ja4",
    "token_id", "key_thumbprint", "country",
)  # fmt: skip
_WHERE: Final = ("asn", "latitude", "longitude", "event_id", "occurred_at")
_ACT: Final = ("operation", "method", "sensitivity", "tool", "scope")
_RESULT: Final = ("status", "bytes_out", "records", "resource")
# An event is a dictionary spread over a kilobyte: it is read once, then columns are worked on.
_AUTH: Final = itemgetter(*_WHO, *_WHERE, "action", "amr", "scopes")
CALL_MEMBERS: Final = (*_WHO, *_WHERE, *_ACT, *_RESULT)
"""What the fold needs of a call."""
_CALL: Final = itemgetter(*CALL_MEMBERS)
_ACT_AT: Final = len(_WHO) + len(_WHERE)
_RESULT_AT: Final = _ACT_AT + len(_ACT)
_ID_AT: Final = CALL_MEMBERS.index("event_id")
_ID: Final = itemgetter("event_id")


def _asn_prints(asn: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Fingerprints of networks known by number: a product modulo 2^32, which keeps numbers apart."""
    prints = (asn * np.uint64(0x9E3779B1) + np.uint64(1) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    prints[prints == 0] = 0x9E3779B1
    return prints


def _zero_for_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), 0.0, values)


def client_family(user_agent: str | None) -> str | None:
    """The client without its version numbers: an update keeps the family, another client does not.

    >>> client_family("Firefox/141.0.2 (X11; Linux)")
    'Firefox/ (X; Linux)'
    """
    return None if user_agent is None else _VERSION.sub("", user_agent)


def network_name(ip: str | None, asn: int | None) -> str | None:
    """The network an event came from: its ASN, else the address's /24 (IPv4) or /48 (IPv6)."""
    if asn is not None:
        return f"as{asn}"
    if ip is None:
        return None
    return ip.rpartition(".")[0] if "." in ip and ":" not in ip else ":".join(ip.split(":")[:3])


class Columns:
    """Turns decoded events into a :class:`Batch`; holds only memories of what strings become."""

    def __init__(self, remember: int = 200_000) -> None:
        self._print = Fingerprints().__getitem__
        self._identities = Memory(self._identity, remember)
        self._acts = Memory(self._act, remember)

    def calls(self, events: Sequence[Event]) -> Batch:
        """``api.call`` events, decoded whole or told as :data:`CALL_MEMBERS`."""
        rows = events.rows if isinstance(events, Told) else map(_CALL, events)
        told = list(zip(*rows, strict=True))
        batch = self._client(events, Kind.CALL, told)
        status, sent, records, resource = told[_RESULT_AT:]
        call = np.empty(len(events), CALL_TOLD)
        call["act"] = np.frombuffer(self._acts.ask(list(zip(*told[_ACT_AT:_RESULT_AT], strict=True))), ACT)
        call["resource"] = hash_ids(resource)
        call["bytes_out"] = _zero_for_nan(np.array(sent, np.float64))
        call["records"] = _zero_for_nan(np.array(records, np.float64))
        code = np.array(status, np.float64)
        call["failed"] = code >= 400
        call["denied"] = denied = (code == 401) | (code == 403)
        call["refused"] = denied | (code == 404)
        batch.told = batch.told._replace(call=call)
        return batch

    def auths(self, events: Sequence[Event]) -> Batch:
        """``auth.event`` events."""
        told = list(zip(*map(_AUTH, events), strict=True))
        batch = self._client(events, Kind.AUTH, told)
        action, amr, scopes = told[-3:]
        auth = np.empty(len(events), AUTH_TOLD)
        auth["action"] = [ACTION[name] for name in action]
        auth["by_sim"] = [one is None or not SIM_BORNE.isdisjoint(one) for one in amr]
        auth["powerful"] = [is_powerful(one or ()) for one in scopes]
        batch.told = batch.told._replace(auth=auth)
        return batch

    def contexts(self, events: Sequence[Event]) -> Batch:
        """``session.context`` events: what devices, principals and relatives mean for sessions."""
        batch = self.bare(events, Kind.CONTEXT)
        batch.told = batch.told._replace(context=context_columns(events))
        return batch

    def verdicts(self, events: Sequence[Event]) -> Batch:
        """``session-feedback``, given an ``event_id`` by the caller."""
        batch = self.bare(events, Kind.VERDICT)
        verdict = np.empty(len(events), VERDICT_TOLD)
        verdict["confirmed"] = [e["verdict"] == "confirmed_compromised" for e in events]
        batch.told = batch.told._replace(verdict=verdict)
        return batch

    def bare(self, events: Sequence[Event], kind: Kind) -> Batch:
        """Events of which only session, id and time matter to the fold."""
        n = len(events)
        keys = np.fromiter(
            (self._print(f"{e['tenant']}{BETWEEN}{e['session_id']}") for e in events), np.uint64, n
        )
        return Batch(events, kind, keys, *_ids_and_times(events))

    def _client(self, events: Sequence[Event], kind: Kind, told: list[tuple[Any, ...]]) -> Batch:
        asn, latitude, longitude, ids, at = told[len(_WHO) : _ACT_AT]
        client = np.empty(len(events), CLIENT_TOLD)
        client["who"] = np.frombuffer(
            self._identities.ask(list(zip(*told[: len(_WHO)], strict=True))), IDENTITY
        )
        numbered = np.array(asn, np.float64)
        known = np.flatnonzero(~np.isnan(numbered))
        client["who"]["client"][known, NETWORK] = _asn_prints(numbered[known].astype(np.uint64))
        client["place"][:, 0] = np.array(latitude, np.float64)
        client["place"][:, 1] = np.array(longitude, np.float64)
        keys = np.ascontiguousarray(client["who"]["key"])
        return Batch(
            events, kind, keys, hash_ids(ids), np.array(at, np.int64), _NOTHING._replace(client=client)
        )

    def _identity(  # noqa: PLR0913, PLR0917 - one parameter for each string of the question
        self, tenant: str, session: str, kind: str, device: str | None, ip: str | None,
        network_type: str | None, ua: str | None, ja4: str | None, token: str | None, key: str | None,
        country: str | None,
    ) -> bytes:  # fmt: skip
        one = np.zeros(1, IDENTITY)
        told = (None, network_name(ip, None), ua, client_family(ua), ja4, token, key, device)
        one["key"] = self._print(f"{tenant}{BETWEEN}{session}")
        one["address"] = self._print(ip)
        one["client"] = short(np.array(list(map(self._print, told)), np.uint64))
        one["country"] = short(np.array([self._print(country)], np.uint64))
        one["kind"] = PRINCIPAL_KIND[kind]
        one["network_type"] = NETWORK_TYPE[network_type]
        one["software"] = software_of(ua)
        return one.tobytes()

    def _act(
        self, operation: str, method: str | None, sensitivity: str | None, tool: str | None, scope: str | None
    ) -> bytes:
        one = np.zeros(1, ACT)
        guarded = scope is not None or is_guarded(operation, sensitivity)
        # Under another scope, or on restricted data, an operation is another one.
        what = BETWEEN.join((operation, scope or "", sensitivity or "")) if guarded else operation
        one["operation"] = self._print(what)
        one["called"] = short(np.array([self._print(operation)], np.uint64))
        one["tool"] = self._print(tool)
        one["stage"] = stage_of(operation, sensitivity)
        one["sensitive"] = SENSITIVITY[sensitivity] >= SENSITIVITY["confidential"]
        one["guarded"] = guarded
        one["writing"] = method is not None and method not in READING
        return one.tobytes()


def _ids_and_times(events: Sequence[Event]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    ids = hash_ids(list(map(_ID, events)))
    return ids, np.fromiter((e["occurred_at"] for e in events), np.int64, len(events))
