"""Conversion of decoded events into the arrays of a batch, which also holds the events, for explanations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.api_calls import FIELD_INDEX, Calls
from models.events.batch import (
    ACTIVITY,
    AUTH_FIELDS,
    CALL_FIELDS,
    CLIENT_FIELDS,
    DEVICE,
    FAMILY,
    IDENTITY,
    JA4,
    KEY,
    NETWORK,
    NOTHING,
    PREFIX,
    TOKEN,
    UA,
    VERDICT_FIELDS,
    Batch,
    Event,
    Kind,
    Structs,
    merged,
)
from models.events.context_columns import context_columns
from models.events.networks import is_inside, network_name
from models.events.operations import is_guarded, is_powerful, stage_of
from models.events.string_cache import StringCache
from models.events.text_hashing import PART_SEPARATOR, Fingerprints, hash_ids, hash_spans, shortened
from models.events.user_agents import BROWSER, HANDSET, software_of
from schemas.fields import DEFAULT_TENANT

Floats = NDArray[np.float64]


AUTH_ACTIONS: Final = (
    "sign_in",
    "sign_in_failed",
    "mfa_challenged",
    "mfa_passed",
    "mfa_denied",
    "step_up_passed",
    "token_issued",
    "token_refreshed",
    "token_exchanged",
    "token_reused",
    "credential_added",
    "credential_changed",
    "credential_removed",
    "recovery_started",
    "sign_out",
    "mfa_failed",
    "other",
)
ACTION: Final = {name: number for number, name in enumerate(AUTH_ACTIONS, start=1)}
FACTOR_CHANGES: Final = ("credential_added", "credential_changed", "credential_removed", "recovery_started")
"""Actions that change how a principal authenticates."""
KINDS: Final = ("", "human", "service", "api_key", "agent")
PRINCIPAL_KIND: Final = {name: number for number, name in enumerate(KINDS)}
NETWORK_TYPES: Final = ("", "wifi", "cellular", "ethernet", "vpn", "hosting", "tor", "unknown")
NETWORK_TYPE: Final = {name: number for number, name in enumerate(NETWORK_TYPES)} | {None: 0}
SENSITIVITY: Final = {None: 0, "public": 0, "internal": 1, "confidential": 2, "restricted": 3}
SIM_BORNE: Final = frozenset({"sms", "tel"})
"""RFC 8176 §2: factors that reach the holder of the SIM."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS", "READ"})


_VERSION: Final = re.compile(r"[\d._]+")
_IDENTITY_NAMES: Final = (
    "tenant",
    "session_id",
    "principal_kind",
    "device_id",
    "ip",
    "network_type",
    "user_agent",
    "ja4",
    "token_id",
    "key_thumbprint",
    "country",
)
_PLACE_AND_TIME: Final = ("asn", "latitude", "longitude", "event_id", "occurred_at")
_ACT: Final = ("operation", "method", "sensitivity", "tool", "scope")
_RESULT: Final = ("status", "bytes_out", "records", "resource")
# A dictionary is spread over a kilobyte of memory: each is read once, and the rest of the work is on columns.
_AUTH: Final = itemgetter(*_IDENTITY_NAMES, *_PLACE_AND_TIME, "action", "amr", "scopes")
_CALL: Final = itemgetter(*_IDENTITY_NAMES, *_PLACE_AND_TIME, *_ACT, *_RESULT)
_ACT_AT: Final = len(_IDENTITY_NAMES) + len(_PLACE_AND_TIME)
_RESULT_AT: Final = _ACT_AT + len(_ACT)
# The same for calls that were read in bulk.
_IDENTITY_INDEXES: Final = [FIELD_INDEX[name] for name in _IDENTITY_NAMES]
_ACTIVITY_INDEXES: Final = [FIELD_INDEX[name] for name in _ACT]
_ID: Final = itemgetter("event_id")


def _asn_fingerprints(asn: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return fingerprints of AS numbers: a product modulo 2^32, which maps different numbers to different ones."""
    prints = (asn * np.uint64(0x9E3779B1) + np.uint64(1) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    prints[prints == 0] = 0x9E3779B1
    return prints


def _client_fields(identity: Structs, asn: Floats, latitude: Floats, longitude: Floats) -> Structs:
    client = np.empty(identity.size, CLIENT_FIELDS)
    client["identity"] = identity
    known = np.flatnonzero(~np.isnan(asn))
    client["identity"]["client"][known, NETWORK] = _asn_fingerprints(asn[known].astype(np.uint64))
    client["place"][:, 0] = latitude
    client["place"][:, 1] = longitude
    return client


def _call_fields(act: Structs, resource: NDArray[np.uint64], status: Floats, sent: Floats, records: Floats) -> Structs:
    call = np.empty(act.size, CALL_FIELDS)
    call["act"] = act
    call["resource"] = resource
    call["bytes_out"] = _zero_for_nan(sent)
    call["records"] = _zero_for_nan(records)
    call["failed"] = status >= 400
    call["denied"] = denied = (status == 401) | (status == 403)
    call["refused"] = denied | (status == 404)
    return call


def _zero_for_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), 0.0, values)


@lru_cache(maxsize=4096)
def client_family(user_agent: str | None) -> str | None:
    """Return the client without version numbers: an update keeps the family, another client does not.

    >>> client_family("Firefox/141.0.2 (X11; Linux)")
    'Firefox/ (X; Linux)'
    """
    return None if user_agent is None else _VERSION.sub("", user_agent)


def tcp_fingerprint(ja4: str | None) -> str | None:
    """Return the JA4 of a TLS handshake over TCP; None for one over QUIC, which begins with `q`.

    A browser changes between HTTP/2 and HTTP/3 within a session (RFC 9114 §3.1), and its two handshakes differ: to
    compare one with the other would make each such change another client.

    >>> tcp_fingerprint("t13d1516h2_8daaf6152771_02713d6af862"), tcp_fingerprint("q13d0312h3_55b375c5d22e_06cda9e17597")
    ('t13d1516h2_8daaf6152771_02713d6af862', None)
    """
    return None if ja4 is None or ja4.startswith("q") else ja4


def is_of_client(principal_kind: str | None, ip: str | None, user_agent: str | None) -> bool:
    """Return whether an event's user agent and JA4 are those of the client.

    A service behind a proxy logs the hop before it: an address from inside and the software of that hop, which the
    person never had. A browser with an address from inside is the person's, in an office without NAT; a machine may
    run inside.
    """
    return principal_kind != "human" or software_of(user_agent) & ~HANDSET == BROWSER or not is_inside(ip)


class Columns:
    """Turns decoded events into a :class:`Batch`; its only state are caches of what strings become.

    Args:
        hash_key: 16 bytes under which the caches hash strings; secret where strings come from strangers
            (:func:`models.events.text_hashing.siphash_rows`). No result depends on it.
        cache_limit: entries of each cache.
    """

    def __init__(self, hash_key: bytes, cache_limit: int = 1_000_000) -> None:
        self._fingerprint = Fingerprints().__getitem__
        self._identities = StringCache(self._identity, IDENTITY, cache_limit, hash_key)
        self._acts = StringCache(self._act, ACTIVITY, cache_limit, hash_key)

    def calls(self, events: Sequence[Event]) -> Batch:
        """Return the batch of ``api.call`` events, decoded one by one or read in bulk."""
        if not isinstance(events, Calls):
            return self._calls_from_dicts(events)
        batch = self._calls_in_bulk(events)
        if events.others:
            known = np.flatnonzero(events.rows >= 0)
            others = np.array(list(events.others), np.int64)
            part = self._calls_from_dicts(list(events.others.values()))
            batch = merged(events, ((known, batch), (others, part)))
        return batch

    def _calls_from_dicts(self, events: Sequence[Event]) -> Batch:
        columns = list(zip(*map(_CALL, events), strict=True))
        batch = self._client(events, Kind.CALL, columns)
        status, sent, records, resource = columns[_RESULT_AT:]
        act = self._acts.lookup(list(zip(*columns[_ACT_AT:_RESULT_AT], strict=True)))
        numbers = (np.array(column, np.float64) for column in (status, sent, records))
        batch.fields = batch.fields._replace(call=_call_fields(act, hash_ids(resource), *numbers))
        return batch

    def _calls_in_bulk(self, events: Calls) -> Batch:
        spans, numbers = events.read.spans, events.read.numbers
        client = _client_fields(
            self._identities.lookup_spans(spans.columns(_IDENTITY_INDEXES)),
            *(numbers[:, FIELD_INDEX[name]] for name in ("asn", "latitude", "longitude")),
        )
        call = _call_fields(
            self._acts.lookup_spans(spans.columns(_ACTIVITY_INDEXES)),
            hash_spans(spans.columns(FIELD_INDEX["resource"])),
            *(numbers[:, FIELD_INDEX[name]] for name in ("status", "bytes_out", "records")),
        )
        ids = hash_spans(spans.columns(FIELD_INDEX["event_id"]))
        at = numbers[:, FIELD_INDEX["occurred_at"]].astype(np.int64)
        keys = np.ascontiguousarray(client["identity"]["key"])
        return Batch(events, Kind.CALL, keys, ids, at, NOTHING._replace(client=client, call=call))

    def auths(self, events: Sequence[Event]) -> Batch:
        """Return the batch of ``auth.event`` events."""
        columns = list(zip(*map(_AUTH, events), strict=True))
        batch = self._client(events, Kind.AUTH, columns)
        action, amr, scopes = columns[-3:]
        auth = np.empty(len(events), AUTH_FIELDS)
        auth["action"] = [ACTION[name] for name in action]
        auth["by_sim"] = [item is None or not SIM_BORNE.isdisjoint(item) for item in amr]
        auth["powerful"] = [is_powerful(scope or ()) for scope in scopes]
        batch.fields = batch.fields._replace(auth=auth)
        return batch

    def contexts(self, events: Sequence[Event]) -> Batch:
        """Return the batch of ``session.context`` events: what devices, principals and related sessions mean."""
        batch = self.bare(events, Kind.CONTEXT)
        batch.fields = batch.fields._replace(context=context_columns(events))
        return batch

    def verdicts(self, events: Sequence[Event]) -> Batch:
        """Return the batch of ``session-feedback``; the caller sets the ``event_id`` of each."""
        batch = self.bare(events, Kind.VERDICT)
        verdict = np.empty(len(events), VERDICT_FIELDS)
        verdict["confirmed"] = [e["verdict"] == "confirmed_compromised" for e in events]
        batch.fields = batch.fields._replace(verdict=verdict)
        return batch

    def bare(self, events: Sequence[Event], kind: Kind) -> Batch:
        """Return the batch of events of which only session, id and time matter to the fold."""
        n = len(events)
        keys = np.fromiter(
            (self._fingerprint(f"{e['tenant']}{PART_SEPARATOR}{e['session_id']}") for e in events), np.uint64, n
        )
        return Batch(events, kind, keys, *_ids_and_times(events))

    def _client(self, events: Sequence[Event], kind: Kind, clients: list[tuple[Any, ...]]) -> Batch:
        asn, latitude, longitude, ids, at = clients[len(_IDENTITY_NAMES) : _ACT_AT]
        structs = self._identities.lookup(list(zip(*clients[: len(_IDENTITY_NAMES)], strict=True)))
        client = _client_fields(structs, *(np.array(column, np.float64) for column in (asn, latitude, longitude)))
        keys = np.ascontiguousarray(client["identity"]["key"])
        return Batch(events, kind, keys, hash_ids(ids), np.array(at, np.int64), NOTHING._replace(client=client))

    def _identity(self, questions: list[tuple[Any, ...]]) -> Structs:
        """Return rows of the fields `_IDENTITY_NAMES` as numbers."""
        tenant, session, kind, device, ip, network_type, ua, ja4, token, key, country = zip(*questions, strict=True)
        values = np.zeros(len(questions), IDENTITY)
        owners = zip(tenant, session, strict=True)
        values["key"] = [self._fingerprint(f"{item or DEFAULT_TENANT}{PART_SEPARATOR}{name}") for item, name in owners]
        values["address"] = self._fingerprints(ip)
        of_client = list(map(is_of_client, kind, ip, ua))
        ua = tuple(item if own else None for item, own in zip(ua, of_client, strict=True))
        ja4 = tuple(item if own else None for item, own in zip(ja4, of_client, strict=True))
        client = {
            PREFIX: (None if is_inside(item) else network_name(item, None) for item in ip),
            UA: ua,
            FAMILY: map(client_family, ua),
            JA4: map(tcp_fingerprint, ja4),
            TOKEN: token,
            KEY: key,
            DEVICE: device,
        }
        for place, columns in client.items():
            values["client"][:, place] = shortened(self._fingerprints(columns))
        values["country"] = shortened(self._fingerprints(country))
        values["kind"] = [PRINCIPAL_KIND[item] for item in kind]
        values["network_type"] = [NETWORK_TYPE[item] for item in network_type]
        values["software"] = list(map(software_of, ua))
        return values

    def _act(self, questions: list[tuple[Any, ...]]) -> Structs:
        """Return rows of the fields `_ACT` as numbers."""
        operation, method, sensitivity, tool, scope = zip(*questions, strict=True)
        act = np.zeros(len(questions), ACTIVITY)
        guarded = [
            under is not None or is_guarded(name, of)
            for name, of, under in zip(operation, sensitivity, scope, strict=True)
        ]
        # A guarded operation under another scope or on other data counts as another operation.
        what = [
            PART_SEPARATOR.join((name, under or "", of or "")) if apart else name
            for name, of, under, apart in zip(operation, sensitivity, scope, guarded, strict=True)
        ]
        act["operation"] = self._fingerprints(what)
        act["called"] = shortened(self._fingerprints(operation))
        act["tool"] = self._fingerprints(tool)
        act["stage"] = list(map(stage_of, operation, sensitivity))
        act["sensitive"] = [SENSITIVITY[item] >= SENSITIVITY["confidential"] for item in sensitivity]
        act["guarded"] = guarded
        act["writing"] = [item is not None and item not in READING for item in method]
        return act

    def _fingerprints(self, texts: Iterable[str | None]) -> NDArray[np.uint64]:
        return np.array(list(map(self._fingerprint, texts)), np.uint64)


def _ids_and_times(events: Sequence[Event]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    ids = hash_ids(list(map(_ID, events)))
    return ids, np.fromiter((e["occurred_at"] for e in events), np.int64, len(events))
