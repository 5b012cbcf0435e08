"""Every feature by a history and the value it must have after it; and what holds of all of them."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from models.events.columns import PRINCIPAL_KIND, Columns
from models.features.table import (
    COUNTER_NAMES,
    DECAYED_COUNTERS,
    FEATURE_NAMES,
    FEATURES,
    HALF_LIVES,
    HOUR,
    MINUTE,
    TEN_MINUTES,
    Feature,
    as_seen_by_models,
    in_own_units,
    matrix,
)
from models.state.segments import segments
from models.state.table import SessionTable
from models.updates.arrivals import locate
from models.updates.fold import fold
from schemas.topics import TOPICS
from tests.models.test_fold import SOME_ROLES, STREAMS, fast
from tests.support.samples import T0, auth, call, context

Event = dict[str, Any]
BERLIN = {"latitude": 52.52, "longitude": 13.405}
MUNICH = {"latitude": 48.137, "longitude": 11.575}
MOSCOW = {"latitude": 55.756, "longitude": 37.617}
VIENNA = {"latitude": 48.208, "longitude": 16.373}
KALININGRAD = {"latitude": 54.71, "longitude": 20.51}
WIFI = {"network_type": "wifi"}
GERMAN, AUSTRIAN, RUSSIAN = ({**WIFI, "country": country} for country in ("DE", "AT", "RU"))
POTSDAM = {"latitude": 52.39, "longitude": 13.06}
MAKE = {"auth.event": Columns.auths, "api.call": Columns.calls, "session.context": Columns.contexts}


def after(*events: Event) -> dict[str, float]:
    """All features after the last of *events*."""
    table, columns = SessionTable(), Columns(bytes(16))
    values = np.zeros((len(FEATURES), 1))
    for kind, chunk in groupby(events, lambda event: str(event["type"])):
        batch = MAKE[kind](columns, list(chunk))
        values = fold(table, segments(locate(table, batch)), batch, SOME_ROLES).values
    return dict(zip(FEATURE_NAMES, values[:, -1].tolist(), strict=True))


def test_values_in_own_units_are_what_the_models_saw() -> None:
    values = np.abs(np.random.default_rng(1).normal(scale=50.0, size=(len(FEATURES), 20)))

    assert in_own_units(as_seen_by_models(values)) == pytest.approx(values.T, rel=1e-4, abs=1e-4)


def _telemetry(at: float, **members: Any) -> Event:
    return context(at, source="device", heard_at=T0 + round(at * 1000), **members)


SAFARI, FIREFOX = "Mozilla/5.0 (Macintosh) Safari/605.1", "Mozilla/5.0 (X11) Gecko/20100101 Firefox/141.0"
FIRST_TOKEN, OTHER_TOKEN = {"token_id": "t-1"}, {"token_id": "t-2"}
IN_USE = [call(at) for at in range(25, 150, 25)]
ON_PHONE = call(0, device_id="phone-1")

ODD: dict[str, Any] = {"principal_kind": "agent", "operation": "iam:CreateAccessKey"}


def _nats(before: str | None) -> float:
    """How much less likely than usual an agent's ODD call is after one of *before*; agents have one role."""
    known = SOME_ROLES.operations.tolist()
    place = len(known) + 1 if before is None else known.index(before) + 1
    row = SOME_ROLES.log_p[PRINCIPAL_KIND["agent"], place, :, 0].astype(float)
    return float((np.exp(row) * row).sum() - row[known.index(ODD["operation"]) + 1])


ODD_NATS, EVEN_NATS = _nats(None), _nats(ODD["operation"])

HISTORIES: list[tuple[str, list[Event], float]] = [
    ("calls_1m", [call(0), call(60)], 1.5),
    ("calls_1m", [call(60), call(0)], 1.5),
    ("calls_1m", [call(0), auth(120)], 0.25),
    ("calls_10m", [call(0), call(600)], 1.5),
    ("calls_1h", [call(0), call(3600), call(7200)], 1.75),
    ("errors_10m", [call(0, status=404), call(0, status=503), call(0), call(600, status=None)], 1.0),
    ("denied_10m", [call(0, status=401), call(0, status=403), call(0, status=404)], 2.0),
    ("error_ratio_10m", [call(0, status=500)], 0.5),
    ("error_ratio_10m", [call(0), call(0), call(0, status=500)], 0.25),
    ("refused_10m", [call(0, status=403), call(0, status=403), call(0, status=404, operation="GET /y")], 2.0),
    ("refused_10m", [call(0), call(0, status=403), call(0, status=500, operation="GET /y")], 0.0),
    ("denied_ratio_10m", [call(0, status=403), call(0, status=403)], 2 / 3),
    ("bytes_out_10m", [call(0, bytes_out=1000), call(600, bytes_out=1)], 501.0),
    ("bytes_out_1h", [call(0, bytes_out=1000), call(3600, bytes_out=None)], 500.0),
    ("records_10m", [call(0, records=8), call(600, records=3)], 7.0),
    (
        "sensitive_records_10m",
        [call(0, records=8, sensitivity="confidential"), call(600, records=3, sensitivity="internal")],
        4.0,
    ),
    (
        "sensitive_records_1h",
        [call(0, records=8, sensitivity="restricted"), call(0, records=100, sensitivity="public")],
        8.0,
    ),
    ("sensitive_calls_10m", [call(0, sensitivity="restricted"), call(0, sensitivity="internal")], 1.0),
    ("sensitive_ratio_10m", [call(0, sensitivity="restricted"), call(0), call(0)], 0.25),
    ("writes_10m", [call(0, method="POST"), call(0, method="GET"), call(0, method=None)], 1.0),
    ("new_operations_10m", [call(0), call(1), call(600, operation="GET /y")], 1.5),
    ("new_operations_10m", [call(0), call(3 * 3600)], 1.0 + 2.0**-18),
    ("new_addresses_1h", [call(0, ip="192.0.2.1"), call(0, ip="192.0.2.2"), call(0, ip="192.0.2.1")], 2.0),
    ("new_resources_10m", [call(0, resource="r-1"), call(0, resource="r-2"), call(600, resource=None)], 1.0),
    ("tool_calls_1m", [call(0, tool="mail"), call(60, tool="mail"), call(60)], 1.5),
    ("new_tools_10m", [call(0, tool="mail"), call(299, tool="search")], 0.0),
    ("new_tools_10m", [call(0, tool="mail"), call(300, tool="search"), call(300, tool="mail")], 1.0),
    ("network_changes_1h", [call(0, asn=1), call(1, asn=1), call(2), call(3, asn=2)], 1.0),
    ("network_changes_1h", [call(0, ip="192.0.2.1"), call(1, ip="192.0.2.9")], 0.0),
    # A service behind the proxy logs the hop before it.
    ("network_changes_1h", [call(0, ip="192.0.2.1"), call(1, ip="10.1.2.3"), call(2, ip="192.0.2.1")], 0.0),
    ("client_changes_1h", [call(0, user_agent=SAFARI), call(1, ip="10.1.2.3", user_agent="Java/21.0.8")], 0.0),
    ("client_changes_1h", [call(0, user_agent=SAFARI), call(1, ip="10.1.2.3", user_agent=FIREFOX)], 1.0),
    ("client_changes_1h", [call(0, user_agent=SAFARI), call(1, ip="8.1.2.3", user_agent="Java/21.0.8")], 1.0),
    (
        "client_changes_1h",
        [
            call(0, user_agent="Go/1", principal_kind="service"),
            call(1, ip="10.1.2.3", user_agent="Java/21.0.8", principal_kind="service"),
        ],
        1.0,
    ),
    ("network_changes_1h", [call(0, ip="192.0.2.1"), call(1, ip="198.51.100.9")], 1.0),
    ("network_changes_1h", [call(0, asn=1, ip="192.0.2.1"), call(1, asn=1, ip="198.51.100.9")], 0.0),
    ("network_changes_1h", [call(0, asn=1, ip="192.0.2.1"), call(1, ip="192.0.2.1"), call(2, asn=1)], 0.0),
    ("network_changes_1h", [call(0, asn=1, ip="192.0.2.1"), call(1, ip="198.51.100.9")], 1.0),
    ("network_changes_1h", [call(0, ip="192.0.2.1"), call(1, asn=1, ip="192.0.2.1")], 0.0),
    ("network_changes_1h", [call(9, asn=1), call(3, asn=2)], 0.0),
    ("client_changes_1h", [call(0, user_agent="Firefox/140"), call(0, user_agent="curl/8")], 1.0),
    ("client_changes_1h", [call(0, user_agent="Firefox/140"), call(0, user_agent="Firefox/141")], 0.0),
    ("client_changes_1h", [ON_PHONE, call(0, device_id="phone-2")], 1.0),
    (
        "client_changes_1h",
        [call(0, user_agent="F/1", ja4="a"), call(0, user_agent="F/2", ja4="b")],
        0.0,
    ),
    (
        "client_changes_1h",
        [call(0, user_agent="F/1", ja4="a"), call(0, user_agent="F/1", ja4="b")],
        1.0,
    ),
    ("token_changes_1h", [call(0, **FIRST_TOKEN), call(0, **OTHER_TOKEN), call(3600)], 0.5),
    ("key_changes_1h", [call(0, key_thumbprint="k-1"), call(0, key_thumbprint="k-2")], 1.0),
    ("auth_failures_10m", [auth(0, action="sign_in_failed"), auth(600, action="mfa_denied")], 1.5),
    ("auth_failures_10m", [auth(0, action="mfa_failed"), auth(600, action="other")], 0.5),
    ("mfa_denials_10m", [auth(0, action="sign_in_failed"), auth(0, action="mfa_denied")], 1.0),
    ("mfa_denials_10m", [auth(0, action="mfa_failed"), auth(0, action="other")], 0.0),
    ("credentials_created_10m", [call(0, operation="iam:CreateAccessKey")], 1.0),
    ("credentials_created_10m", [call(0, operation="iam:CreateAccessKey", status=403)], 0.0),
    ("rights_granted_10m", [call(0, operation="iam:AttachUserPolicy"), call(600)], 0.5),
    ("audit_blinded_10m", [call(0, operation="cloudtrail:StopLogging", status=None)], 1.0),
    (
        "credential_changes_1h",
        [auth(0, action="credential_added"), auth(0, action="credential_removed")],
        2.0,
    ),
    ("speed_kmh", [call(0, **BERLIN, **WIFI), call(3600, **MUNICH, **WIFI)], 504.4),
    ("speed_kmh", [call(0, **BERLIN, **WIFI), call(3600, **POTSDAM, **WIFI)], 0.0),
    # Without a network type at either place, it may be a carrier's gateway.
    ("speed_kmh", [call(0, **BERLIN, **WIFI), call(9, **MUNICH)], 0.0),
    ("speed_kmh", [call(0, **BERLIN), call(9, **MUNICH, **WIFI)], 0.0),
    ("speed_kmh", [call(0, **BERLIN), call(9, **MUNICH, network_type="unknown")], 0.0),
    ("speed_kmh", [call(0, **BERLIN), call(3600, **MOSCOW)], 1608.9),
    # An office's address is located where the company's egress is.
    ("speed_kmh", [call(0, **BERLIN, **GERMAN), call(9, **MUNICH, **GERMAN)], 0.0),
    ("speed_kmh", [call(0, **BERLIN, **GERMAN), call(3600, **VIENNA, **AUSTRIAN)], 523.9),
    ("speed_kmh", [call(0, **KALININGRAD, **RUSSIAN), call(3600, **MOSCOW, **RUSSIAN)], 1089.0),
    ("speed_kmh", [call(0, **BERLIN), call(60, **MUNICH, network_type="vpn")], 0.0),
    ("speed_kmh", [call(0, **BERLIN), call(60)], 0.0),
    ("silence_in_use", [ON_PHONE, _telemetry(0, heartbeat_interval_ms=60_000), *IN_USE, call(150)], 2.5),
    ("silence_in_use", [ON_PHONE, _telemetry(0, heartbeat_interval_ms=60_000), call(900)], 1.0),
    ("silence_in_use", [ON_PHONE, _telemetry(0, heartbeat_interval_ms=60_000), call(900), call(930)], 1.5),
    ("silence_in_use", [ON_PHONE, _telemetry(0, heartbeat_interval_ms=60_000), *IN_USE, call(900)], 15.0),
    (
        "silence_in_use",
        [ON_PHONE, _telemetry(0, heartbeat_interval_ms=60_000), *IN_USE, context(3_000, known_asn=True)],
        125 / 60,
    ),
    ("silence_in_use", [ON_PHONE, _telemetry(0), call(150)], 0.0),
    ("silence_in_use", [call(0), _telemetry(0, heartbeat_interval_ms=60_000), call(150)], 0.0),
    ("silence_in_use", [ON_PHONE, _telemetry(200, heartbeat_interval_ms=60_000), call(150)], 0.0),
    ("attestation_age_m", [ON_PHONE, _telemetry(0, attested_at=T0 - 60_000), call(60)], 2.0),
    ("attestation_age_m", [call(0), _telemetry(0, attested_at=T0 - 60_000), call(60)], 0.0),
    (
        "posture_faults",
        [ON_PHONE, _telemetry(0, rooted=True, encrypted=False, managed=True, malware="detected")],
        3.0,
    ),
    ("posture_faults", [ON_PHONE, _telemetry(0, rooted=True), _telemetry(1, rooted=False)], 0.0),
    ("posture_faults", [ON_PHONE, _telemetry(5, rooted=False), _telemetry(1, rooted=True)], 0.0),
    ("unattested", [ON_PHONE], 1.0),
    ("unattested", [ON_PHONE, _telemetry(0, attested_at=T0, attestation="failed")], 1.0),
    ("unattested", [ON_PHONE, _telemetry(0, attested_at=T0, attestation="strong")], 0.0),
    ("unattested", [call(0)], 0.0),
    ("session_age_m", [auth(0), call(90)], 1.5),
    ("session_age_m", [auth(60), call(0)], 0.0),
    ("strong_auth_age_m", [auth(0, action="mfa_passed"), call(60), auth(120, action="token_issued")], 2.0),
    ("strong_auth_age_m", [call(0), call(180)], 3.0),
    ("novelty", [call(0), context(0, source="principal", novelty=0.75)], 0.75),
    ("novelty", [context(0, source="principal", novelty=0.75), context(1, source="device")], 0.75),
    ("surprise_10m", [call(0, **ODD)], ODD_NATS),
    ("surprise_10m", [call(0, **ODD), call(600, **ODD), context(1200)], 0.25 * ODD_NATS + 0.5 * EVEN_NATS),
    ("surprise_ratio_10m", [call(0, **ODD)], ODD_NATS / 2),
    ("rare_transitions_10m", [call(0, **ODD), call(0, **ODD), call(600, **ODD)], 0.5),
    ("concurrent_sessions", [call(0), context(0, source="principal", concurrent_sessions=3)], 3.0),
    ("concurrent_sessions", [context(0, source="principal", concurrent_sessions=10**9)], 65535.0),
]


@pytest.mark.parametrize(
    ("name", "history", "value"), HISTORIES, ids=[f"{row[0]}-{index}" for index, row in enumerate(HISTORIES)]
)
def test_a_feature_has_its_value_after_a_history(name: str, history: list[Event], value: float) -> None:
    assert after(*history)[name] == pytest.approx(value, rel=1e-3, abs=1e-9)


def test_every_feature_has_a_history_that_moves_it() -> None:
    moved = {name for name, _, value in HISTORIES if value > 0}

    assert sorted(set(FEATURE_NAMES) - moved) == []
    assert sorted(moved - set(FEATURE_NAMES)) == []


def test_names_are_unique_and_say_their_window() -> None:
    windows = {MINUTE: "_1m", TEN_MINUTES: "_10m", HOUR: "_1h"}

    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert len(set(COUNTER_NAMES)) == len(DECAYED_COUNTERS)
    assert [counter.name for counter in DECAYED_COUNTERS if not counter.name.endswith(windows[counter.half_life])] == []
    assert [name for name in FEATURE_NAMES if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", name)] == []
    assert {counter.half_life for counter in DECAYED_COUNTERS} == set(HALF_LIVES)


@pytest.mark.parametrize("feature", FEATURES, ids=FEATURE_NAMES)
def test_a_feature_is_documented_for_people(feature: Feature) -> None:
    assert feature.unit
    assert feature.source == "all" or feature.source in TOPICS
    assert 10 < len(feature.text) < 100
    assert not feature.text.endswith(".")
    assert len(feature.name) <= 64


def test_every_counter_is_a_feature() -> None:
    assert set(COUNTER_NAMES) <= set(FEATURE_NAMES)


@given(STREAMS)
@settings(max_examples=60)
def test_every_value_is_finite_and_a_counter_never_negative(events: list[Event]) -> None:
    values = np.array(fast(events, set())[0]).T[: len(FEATURES)]

    assert np.isfinite(values).all()
    assert (values[[feature.scale == "log" for feature in FEATURES]] >= 0).all()
    assert np.isfinite(as_seen_by_models(values)).all()


def test_a_model_sees_counters_by_their_logarithm_and_ratios_as_they_are() -> None:
    values = np.full((len(FEATURES), 2), 0.5)

    seen = as_seen_by_models(values)

    expected = [np.log1p(0.5) if feature.scale == "log" else 0.5 for feature in FEATURES]
    assert seen.shape == (2, len(FEATURES))
    assert seen.dtype == np.float32
    assert seen[0].tolist() == pytest.approx(expected)
    assert (values == 0.5).all()


def test_a_matrix_has_a_row_for_each_feature() -> None:
    view: dict[str, Any] = {name: np.full(3, float(at)) for at, name in enumerate(COUNTER_NAMES)}
    others: tuple[str, ...] = (
        "speed_kmh",
        "silence_in_use",
        "attestation_age",
        "posture_faults",
        "unattested",
    )
    others += ("session_age", "strong_age", "novelty", "concurrent")
    view |= dict.fromkeys(others, np.zeros(3))

    values = matrix(view, np.array([view[name] for name in COUNTER_NAMES]).T)

    assert values[FEATURE_NAMES.index("calls_10m")].tolist() == [1.0, 1.0, 1.0]


def test_the_location_of_a_vpn_stays_ignored_when_a_later_event_has_no_network_type() -> None:
    home = {"ip": "192.0.2.1", "asn": 64500, "network_type": "wifi", "latitude": 52.5, "longitude": 13.5}
    vpn = {"ip": "198.51.100.7", "asn": 64501, "latitude": 37.7, "longitude": -122.4}
    events = [call(0, **home), call(60, **vpn, network_type="vpn"), call(120, **vpn), call(180, **home)]

    assert [after(*events[: n + 1])["speed_kmh"] for n in range(4)] == [0.0, 0.0, 0.0, 0.0]
