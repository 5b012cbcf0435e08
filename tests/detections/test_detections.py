"""Every detection by a history on which it fires, one on which it does not, and honest histories.

Histories go through all stages, as a recording is replayed: telemetry, sign-ins and calls in, decisions out.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from pipeline.detections import DETECTION_IDS
from tests.support.detection_histories import (
    AGENT_ID,
    agent,
    born,
    doing,
    for_days,
    guessed,
    in_use,
    on_mere_management,
    prompts,
    reads,
    secrets,
    silence,
    woken,
)
from tests.support.histories import (
    AGENT,
    BERLIN,
    BLIND,
    CAFE,
    CLEAN,
    CREATE,
    GRANT,
    HOME,
    KEY,
    MUNICH,
    ON,
    Row,
    earlier,
    moved,
    ms,
    names,
    on_phone,
    others,
    reports,
    thrice,
)
from tests.support.run_processors import found, replayed
from tests.support.samples import auth, call, feedback, telemetry

WIFI = {"network_type": "wifi"}
DE = {**WIFI, "country": "DE"}
ROWS = [
    Row(
        "device_rooted",
        on_phone(rooted=True),
        on_phone(rooted=False),
        (on_phone(developer_mode=True), on_phone(debugger=True)),
    ),
    Row("device_rooted", on_phone(rooted=True), on_phone(rooted=None)),
    Row("device_rooted", on_phone(rooted=True), [*on_phone(), telemetry(70, device_id="x", rooted=True)]),
    Row(
        "malware_on_device",
        on_phone(malware="detected"),
        on_phone(malware="none"),
        (on_phone(malware="quarantined"),),
    ),
    Row(
        "telemetry_silent_while_active",
        [*silence(300), *in_use(260)],
        [*silence(180), *in_use(180)],
        (
            [*silence(900, 300_000), *in_use(600)],
            [*silence(300), telemetry(100, **CLEAN), *in_use(260)],
            [*silence(4000), *(call(at, **ON) for at in range(3600, 3700, 20))],
            woken(119),
            [*woken(400), *(telemetry(at, **CLEAN) for at in range(100, 400, 60))],
        ),
    ),
    Row("telemetry_silent_while_active", woken(160), woken(120)),
    Row(
        "telemetry_silent_while_idle",
        silence(300),
        silence(180),
        (
            silence(900, 300_000),
            [*silence(300), auth(120, **ON, action="sign_out")],
            [telemetry(-1800, **CLEAN), auth(0, **ON), *others(110)],
        ),
    ),
    Row(
        "agent_without_fresh_attestation",
        agent(1200, attested=lambda at: at),
        agent(1200, attested=lambda at: at % 600),
        (
            agent(1200, attested=lambda at: at, device_id=None),
            agent(300, attested=lambda at: 800),
            # Management that reports without an attestation, or none at all.
            on_mere_management(1200, {"attestation": None}),
            on_mere_management(1200, {"attestation": "none"}),
            on_mere_management(1200, {"attestation": "unevaluated"}),
            [call(at, **AGENT, **ON) for at in range(0, 1200, 30)],
        ),
    ),
    Row(
        "agent_without_fresh_attestation",
        on_mere_management(120, {"attestation": "virtual"}),
        on_mere_management(120, {"attestation": "strong"}),
    ),
    Row(
        "agent_without_fresh_attestation",
        [*on_phone(attestation="none", attested_at=ms(0)), *(call(at, **AGENT, **ON) for at in (62, 90))],
        [*on_phone(attestation="none", attested_at=ms(0)), *(call(at, **ON) for at in (62, 90))],
    ),
    Row(
        "network_changed",
        [*earlier(HOME), *moved(HOME, CAFE)],
        [*earlier(HOME), *moved(HOME, HOME)],
        (
            [*earlier(CAFE), *moved(HOME, CAFE)],
            [*earlier(HOME, CAFE), *moved(HOME, CAFE, HOME, CAFE)],
            moved(HOME, {**HOME, "asn": None}, HOME),
        ),
    ),
    Row(
        "network_changed",
        [*earlier(HOME), *guessed(CAFE), *moved(HOME, CAFE)],
        [*earlier(HOME), *guessed(CAFE), *moved(HOME, HOME)],
        ([*earlier(HOME), *guessed(CAFE), *earlier(CAFE, session_id="typo"), *moved(HOME, CAFE)],),
    ),
    Row(
        "token_replayed",
        moved(HOME, {**CAFE, "user_agent": "curl/8", "ja4": "t13d_b"}),
        moved(HOME, CAFE),
        (
            moved(HOME, {**HOME, "user_agent": "Firefox/141"}),
            moved(HOME, {**HOME, "user_agent": "curl/8"}),
            moved(HOME, {**CAFE, "user_agent": "Safari/18", "token_id": "t-2"}),
            moved({**HOME, "token_id": None}, {**CAFE, "user_agent": "curl/8", "token_id": None}),  # whose token is it?
            moved({**HOME, "key_thumbprint": "k"}, {**CAFE, "user_agent": "curl/8", "key_thumbprint": "k"}),
        ),
    ),
    Row(
        "ancestor_revoked",
        born("parent"),
        born("stranger"),
        ([*born("parent")[:3], auth(60, session_id="parent", action="sign_out"), call(61, **AGENT_ID)],),
    ),
    Row(
        "impossible_travel",
        [auth(0, **BERLIN, **WIFI), call(600, **MUNICH, **WIFI)],
        [auth(0, **BERLIN, **WIFI), call(3600, **MUNICH, **WIFI)],
        (
            [auth(0, **BERLIN), call(600, **MUNICH, network_type="vpn")],
            [auth(0, **BERLIN), call(600)],
            [auth(0, **BERLIN, **WIFI), call(9, **MUNICH), call(20, **BERLIN, **WIFI)],
            [auth(0, **BERLIN, **WIFI, country="DE"), call(9, **MUNICH, **WIFI, country="DE")],
        ),
    ),
    Row(
        "impossible_travel",
        [auth(0, session_id="before", **BERLIN, **WIFI), auth(600, **MUNICH, **WIFI)],
        [auth(0, session_id="before", **BERLIN, **WIFI), auth(3600, **MUNICH, **WIFI)],
        (
            [auth(0, session_id="before", principal_id="bob", **BERLIN, **WIFI), auth(600, **MUNICH, **WIFI)],
            [auth(0, session_id="before", **BERLIN, **WIFI), auth(9, **MUNICH)],
            [auth(0, session_id="before", **BERLIN), auth(9, **MUNICH, **WIFI)],
            [auth(0, session_id="before", **BERLIN, **DE), auth(9, **MUNICH, **DE)],
        ),
    ),
    Row("mfa_fatigue", prompts(5), prompts(3), (prompts(8, approved=False),)),
    Row("mfa_fatigue", prompts(5, apart=120), prompts(3, apart=1), (prompts(5, apart=400),)),
    Row(
        "mass_read",
        reads(600, sensitivity="restricted"),
        reads(400, sensitivity="restricted"),
        (
            reads(600, sensitivity="internal"),
            reads(600, sensitivity="restricted", principal_kind="service", principal_id="export"),
        ),
    ),
    Row(
        "privilege_chain",
        doing(CREATE, GRANT, BLIND),
        doing(CREATE, GRANT, GRANT),
        (doing(CREATE, GRANT, BLIND, apart=1800), doing(CREATE, GRANT, BLIND, status=403)),
    ),
    Row(
        "privilege_widened",
        doing(CREATE, GRANT),
        doing(CREATE, CREATE),
        (doing(GRANT, BLIND, apart=1800), doing(GRANT, BLIND, status=403)),
    ),
    Row(
        "audit_switched_off",
        doing(BLIND),
        doing(GRANT),
        (doing(BLIND, status=404), doing(CREATE, GRANT, BLIND), doing("cloudtrail:DescribeTrails")),
    ),
    Row("audit_switched_off", doing(BLIND, status=403), doing(GRANT, status=403)),
    Row(
        "opened_to_outside",
        doing("s3:PutBucketPolicy", sensitivity="restricted"),
        doing("s3:PutBucketPolicy", sensitivity="internal"),
        (
            doing("s3:PutBucketPolicy", sensitivity="restricted", status=403),
            doing("s3:PutObject", sensitivity="restricted"),
        ),
    ),
    Row(
        "secrets_harvested",
        secrets(20),
        secrets(8),
        (
            secrets(20, resource="the same"),
            secrets(20, operation="GET /customers/{id}"),
            secrets(20, principal_kind="service", principal_id="start"),
            [*secrets(8), *secrets(8, start=3600)],
            [*reads(5, sensitivity="confidential"), *secrets(1, start=60)],
        ),
    ),
    Row("secrets_harvested", secrets(20, status=403), secrets(8, status=403)),
    Row(
        "secrets_harvested",
        secrets(3, operation="ssm:GetParameters", records=10),
        secrets(3, operation="ssm:GetParameters", records=2),
        (
            secrets(20, operation="ssm:GetParameters", records=9, resource="the same list"),
            [event for _ in range(9) for event in secrets(5)],
        ),
    ),
    Row(
        "agent_tool_burst",
        [call(at / 20, **AGENT) for at in range(300)],
        [call(at / 4, **AGENT) for at in range(300)],
        ([call(at / 20) for at in range(300)],),
    ),
    Row(
        "agent_tool_burst",
        [call(0, **AGENT), *(call(400 + at, **{**AGENT, "tool": f"new-{at}"}) for at in range(6))],
        [call(0, **AGENT), *(call(400 + at, **{**AGENT, "tool": f"new-{at}"}) for at in range(3))],
        ([call(at * 10, **{**AGENT, "tool": f"new-{at}"}) for at in range(12)],),
    ),
    Row(
        "api_key_off_place",
        moved(HOME, CAFE, **KEY),
        moved(HOME, HOME, **KEY),
        (moved(HOME, CAFE), moved(HOME, {**HOME, "ip": "192.0.2.99"}, **KEY)),
    ),
    Row(
        "api_key_off_place",
        [*thrice(HOME, **KEY), auth(0, **CAFE, **KEY)],
        [*earlier(HOME, **KEY), auth(0, **CAFE, **KEY)],
        ([*thrice(HOME, **KEY), auth(0, **HOME, **KEY)], [auth(0, **CAFE, **KEY)]),
    ),
    Row(
        "api_key_off_place",
        [*for_days(5, **HOME, **KEY), auth(0, **CAFE, **KEY)],
        [*for_days(2, **HOME, **KEY), auth(0, **CAFE, **KEY)],
        ([*for_days(5, **HOME, **KEY), auth(0, **HOME, **KEY)],),
    ),
    Row(
        "step_up_missed",
        [*earlier(HOME), *moved(HOME, CAFE, CAFE, until=500)],
        [*earlier(HOME), *moved(HOME, CAFE, CAFE, until=500), auth(1300, **CAFE, action="step_up_passed")],
        (
            [*earlier(HOME), *moved(HOME, CAFE, CAFE, until=200)],
            [*earlier(HOME), *moved(HOME, CAFE, until=500)],
        ),
    ),
    Row(
        "confirmed_compromised",
        [auth(0), feedback(5, verdict="confirmed_compromised")],
        [auth(0), feedback(5, verdict="true_positive"), feedback(6, verdict="unsure")],
        (
            [
                auth(0),
                auth(0, session_id="s-2"),
                feedback(5, session_id="s-2", verdict="benign_true_positive"),
            ],
        ),
    ),
]
IDS = names(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_detection_fires(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_detection_stays_quiet(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


@pytest.mark.parametrize("row", [row for row in ROWS if row.honest], ids=[r.rule for r in ROWS if r.honest])
def test_a_detection_spares_the_honest(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)


def test_every_detection_has_a_firing_a_quiet_and_an_honest_history() -> None:
    files = sorted(Path(__file__).parent.glob("test_*detections.py"))
    tables = [ROWS, *(import_module(f"tests.detections.{file.stem}").ROWS for file in files)]
    rows = [row for table in tables for row in table]
    tested = {row.rule for row in rows if row.fires and row.quiet}
    spared = {row.rule for row in rows if row.honest}

    assert sorted(set(DETECTION_IDS) - tested) == []
    assert sorted(set(DETECTION_IDS) - spared) == []
    assert sorted(tested - set(DETECTION_IDS)) == []


def test_an_ordinary_day_has_no_detections() -> None:
    day = [*reports(3600, attested_at=ms(0)), auth(5, **ON, **HOME), *others(3600)]
    day += [call(at, **ON, **HOME, records=2, sensitivity="confidential") for at in range(10, 3600, 30)]

    assert found(replayed(day)) == set()
