"""The changelog rows of each context keep their bytes: a worker of today reads those of yesterday and writes the same.

`state_rows.json` holds the JSON of the rows that the events below left on 2 December 2026. A field that is added to
a state belongs into that file; a difference in anything else means that a running deployment would lose its state.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from pipeline.contexts.device.processor import device_context
from pipeline.contexts.keyed_processor import KeyedProcessor, encode_row, row_body, serializer
from pipeline.contexts.network import network_context
from pipeline.contexts.principal.processor import principal_context
from pipeline.processing.processor import pack_key, unpack_key
from tests.support.histories import BERLIN, MUNICH
from tests.support.principals import CAFE, HOME, VPN
from tests.support.run_processors import Event, Player
from tests.support.samples import T0, activity, attempt, binding, telemetry

ROWS = json.loads((Path(__file__).parent / "state_rows.json").read_text(encoding="utf-8"))
SUPPRESSION = {
    "suppression_id": "sup-1",
    "session_id": "s-1",
    "state": "created",
    "detections": ["impossible_travel"],
    "owner": "soc",
    "occurred_at": T0,
    "expires_at": T0 + 86_400_000,
}
BOT = {"principal_id": "bot", "principal_kind": "service"}
HOSTED = {"asn": 64510, "ip": "198.51.100.9", "network_type": "hosting"}


def principal_events() -> list[Event]:
    """A person who travels, moves with a device, is suspected and trusted; a workload; one who waits for a device."""
    return [
        activity(0, **HOME, **BERLIN, used=["scope:read", "operation:s3:GetObject"]),
        activity(5, session_id="s-2", **CAFE, **MUNICH, used=["tool:mail"]),
        activity(60, kind="summary", peaks={"calls_10m": 7.0, "records_10m": 12.5}),
        activity(70, kind="device_moved", device_id="phone-1", ip="192.0.2.1", asn=64500),
        activity(80, session_id="s-1", kind="client_changed", **(HOME | VPN)),
        activity(90, kind="credential_added", device_id="phone-9"),
        activity(95, kind="muted", suppression=SUPPRESSION),
        activity(100, session_id="s-3", device_id="phone-9", asn=64777, country="FR", ja4="t13d", used=["scope:write"]),
        activity(110, session_id="s-3", kind="revoked"),
        activity(120, session_id="s-2", kind="ended", peaks={"calls_10m": 3.0}),
        *(activity(130 + n, session_id=f"s-{n}", device_id=f"other-{n}", asn=64600 + n) for n in range(4, 9)),
        activity(140, session_id="s-guess", guess=True, asn=64999),
        activity(150, session_id="b-1", **BOT, **HOSTED, workload="container", home_asn=64510),
        activity(160, session_id="b-2", **BOT, **HOSTED, workload="container", used=["operation:iam:CreateUser"]),
        activity(170, session_id="s-2", kind="vouched"),
        activity(175, session_id="s-5", kind="used", used=["unheard:x:Y"]),
        activity(176, principal_id="cy", session_id="c-1", **HOME),
        activity(177, principal_id="cy", session_id="c-1", kind="device_moved", device_id="phone-1", asn=64500),
        activity(178, principal_id="cy", session_id="c-1", kind="client_changed", **CAFE),
    ]


def device_events() -> list[Event]:
    """A phone that two sessions use reports, moves, loses its screen lock and goes back in time; another is silent."""
    posture = {"managed": True, "screen_lock": True, "os_version": "17.5", "attestation": "strong", "sim_id": "a"}
    return [
        telemetry(0, **posture, sequence=1, ip="192.0.2.1", asn=64500, heartbeat_interval_ms=60_000),
        binding(1),
        binding(2, session_id="s-2", principal_id="bob"),
        telemetry(60, **(posture | {"screen_lock": False, "attestation": "basic"}), sequence=2, asn=64501),
        telemetry(120, **(posture | {"os_version": "17.4", "sim_id": "b"}), sequence=3, patch_level="2025-01-01"),
        telemetry(-4_000, sequence=4, attested_at=T0),
        binding(130, device_id="laptop-1", session_id="s-3"),
        binding(140, state="ended"),
    ]


def network_events() -> list[Event]:
    """Some fail and some sign in from one network, among them people behind a VPN."""
    hidden = {"network_type": "vpn", "ja4": "t13d"}
    return [
        *(attempt(n, principal_id=f"victim-{n}", action="sign_in_failed") for n in range(6)),
        *(attempt(10 + n, principal_id=f"new-{n}", session_id=f"n-{n}", **hidden) for n in range(4)),
        attempt(100_000, principal_id="new-0", session_id="n-9", **hidden),
        attempt(100_001, network="198.51.100", principal_id="new-1", action="mfa_denied"),
    ]


CONTEXTS = pytest.mark.parametrize(
    ("name", "create", "events"),
    [
        ("principal", principal_context, principal_events),
        ("device", device_context, device_events),
        ("network", network_context, network_events),
    ],
)


def played(processor: KeyedProcessor[Any, Any], events: list[Event]) -> dict[bytes, bytes]:
    """The changelog rows that the events leave."""
    player = Player(processor)
    player.each(*({**event, "event_id": f"e-{number}"} for number, event in enumerate(events)))
    return player.rows


def encoded(record: Any) -> bytes:
    state: Any = type(record)
    return serializer(state).dump_json(record, by_alias=True)


@CONTEXTS
def test_the_rows_of_a_context_have_the_bytes_that_they_had(
    name: str, create: Callable[[], KeyedProcessor[Any, Any]], events: Callable[[], list[Event]]
) -> None:
    rows = played(create(), events())

    assert {"|".join(unpack_key(key)): row_body(row).decode() for key, row in rows.items()} == ROWS[name]


@CONTEXTS
def test_a_row_that_is_read_and_written_again_has_the_same_bytes(
    name: str, create: Callable[[], KeyedProcessor[Any, Any]], events: Callable[[], list[Event]]
) -> None:
    other = create()
    other.restore(played(create(), events()).items())

    assert {"|".join(key): encoded(record).decode() for key, record in other.records.items()} == ROWS[name]


PARTS = {
    "principal": ("factors", "baseline", "uses", "devices", "fashion"),
    "device": ("changes", "place"),
    "network": (),
}


@CONTEXTS
def test_fields_of_a_newer_version_are_ignored(
    name: str, create: Callable[[], KeyedProcessor[Any, Any]], events: Callable[[], list[Event]]
) -> None:
    other = create()
    for key, text in ROWS[name].items():
        stored = json.loads(text)
        for part in (stored, *(stored[part] for part in PARTS[name])):
            part["added_later"] = {"any": ["thing"]}
        if name == "principal":
            stored["habits"]["added_later"] = {"value": [1, "s-1"]}
        if name == "device":
            stored["posture"]["added_later"] = True
            stored["changes"]["fell"]["added_later"] = [1, None, 0, ""]
        packed = pack_key(tuple(key.split("|")))
        other.restore([(packed, encode_row(packed, to_json(stored)))])

    assert {"|".join(key): encoded(record).decode() for key, record in other.records.items()} == ROWS[name]


@CONTEXTS
def test_fields_that_an_older_version_did_not_write_have_their_initial_value(
    name: str, create: Callable[[], KeyedProcessor[Any, Any]], events: Callable[[], list[Event]]
) -> None:
    initial = json.loads(encoded(create()._state()))
    for key, text in ROWS[name].items():
        packed = pack_key(tuple(key.split("|")))
        for missing in initial.keys() - {"seen_at"}:
            other, stored = create(), json.loads(text)
            del stored[missing]
            other.restore([(packed, encode_row(packed, to_json(stored)))])
            (record,) = other.records.values()
            assert json.loads(encoded(record)) == stored | {missing: initial[missing]}
        for part in PARTS[name]:
            for missing in initial[part]:
                other, stored = create(), json.loads(text)
                del stored[part][missing]
                other.restore([(packed, encode_row(packed, to_json(stored)))])
                (record,) = other.records.values()
                stored[part][missing] = initial[part][missing]
                assert json.loads(encoded(record)) == stored
