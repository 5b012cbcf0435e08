"""Every detection by a history on which it fires, one on which it stays quiet, and what honest people do.

Histories go through all stages, as a recording is replayed: telemetry, sign-ins and calls in, decisions out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histories import (
    AGENT,
    BERLIN,
    CAFE,
    CLEAN,
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
from models.columns import Columns
from models.features import FEATURE_NAMES
from models.fold import fold
from models.segments import segments
from models.signals import SIGNAL_BIT
from models.state import ROW, SessionTable
from pipeline.rules import ATTACK_VERSION, BIT, RULE_IDS, RULES, firing
from playing import Event, found, replayed, topic_of
from samples import auth, call, context, feedback, telemetry
from schemas.topics import TOPICS

WIFI = {"network_type": "wifi"}
DE = {**WIFI, "country": "DE"}


def silence(until: float, interval_ms: int = 60_000) -> list[Event]:
    """A session on a phone that reported once."""
    return [telemetry(0, **{**CLEAN, "heartbeat_interval_ms": interval_ms}), auth(1, **ON), *others(until)]


def in_use(until: float) -> list[Event]:
    """The same session is used once in half a minute."""
    return [call(at, **ON) for at in range(20, int(until), 30)]


def woken(until: float) -> list[Event]:
    """A session on a phone that last reported half an hour before it began, with a call every 20 seconds."""
    slept = telemetry(-1800, **CLEAN)
    return [slept, auth(0, **ON), *(call(at, **ON) for at in range(20, int(until), 20)), *others(until)]


def agent(until: float, attested: Callable[[float], float], **members: Any) -> list[Event]:
    """An agent calls tools on a phone that reports every minute, and was *attested* so many seconds ago."""
    told = [telemetry(at, **CLEAN, attested_at=ms(at - attested(at))) for at in range(0, int(until), 60)]
    return [*told, *(call(at, **AGENT, **{**ON, **members}) for at in range(5, int(until), 30))]


def on_mere_management(until: float, told: dict[str, Any]) -> list[Event]:
    """An agent calls tools on a device whose reports never date an attestation."""
    reported = [telemetry(at, **{**CLEAN, **told}) for at in range(0, int(until), 60)]
    return [*reported, *(call(at, **AGENT, **ON) for at in range(5, int(until), 30))]


def for_days(number: int, **members: Any) -> list[Event]:
    """One session that is used every hour for so many days."""
    return [
        call(-3600 * hour, session_id="long", **members) for hour in range(24 * number, 0, -1)
    ]  # fmt: skip


def reads(records: int, **members: Any) -> list[Event]:
    return [call(at, records=records, **members) for at in range(10)]


def doing(*operations: str, apart: float = 60, **members: Any) -> list[Event]:
    return [call(apart * at, operation=name, **members) for at, name in enumerate(operations)]


def secrets(number: int, start: float = 0, **members: Any) -> list[Event]:
    """So many secrets are asked for one by one."""
    usual = {"operation": "GET /secrets/{id}", "sensitivity": "restricted", "records": 1}
    return [
        call(start + at, **{"resource": f"secret-{at}", **usual, **members}) for at in range(number)
    ]  # fmt: skip


def prompts(denials: int, *, approved: bool = True, apart: float = 20) -> list[Event]:
    told = [auth(apart * at, action="mfa_denied") for at in range(denials)]
    end = apart * denials
    return [*told, *([auth(end, action="mfa_passed")] if approved else []), call(end + 1)]


def born(parent: str, *more: Event) -> list[Event]:
    """Session s-1 is born from *parent*, which is then confirmed compromised, unless it is another."""
    exchange = auth(5, action="token_exchanged", parent_session_id=parent, **AGENT_ID)
    fall = feedback(60, session_id="parent", verdict="confirmed_compromised")
    return [auth(0, session_id="parent"), auth(1, session_id="stranger"), exchange, fall, *more]


def guessed(place: dict[str, Any]) -> list[Event]:
    """A wrong password, from a place, some hours ago."""
    return [auth(-7200, **place, session_id="guess", action="sign_in_failed")]


AGENT_ID = {"principal_id": "assistant", "principal_kind": "agent"}
CREATE, GRANT, BLIND = "iam:CreateAccessKey", "iam:AttachUserPolicy", "cloudtrail:StopLogging"


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


# --- each detection ---------------------------------------------------------------------------------------


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
    tables = [ROWS, *(import_module(file.stem).ROWS for file in files)]
    rows = [row for table in tables for row in table]
    told = {row.rule for row in rows if row.fires and row.quiet}
    spared = {row.rule for row in rows if row.honest}

    assert sorted(set(RULE_IDS) - told) == []
    assert sorted(set(RULE_IDS) - spared) == []
    assert sorted(told - set(RULE_IDS)) == []


def test_nobody_is_accused_for_a_plain_day() -> None:
    day = [*reports(3600, attested_at=ms(0)), auth(5, **ON, **HOME), *others(3600)]
    day += [call(at, **ON, **HOME, records=2, sensitivity="confidential") for at in range(10, 3600, 30)]

    assert found(replayed(day)) == set()


# --- the table --------------------------------------------------------------------------------------------


def test_ids_are_unique_and_fit_into_a_row() -> None:
    assert {rule.id: at for at, rule in enumerate(RULES)} == BIT
    assert len(BIT) == len(RULES) <= 8 * ROW["mask"].itemsize
    assert [rule_id for rule_id in RULE_IDS if not re.fullmatch(r"[a-z]+(_[a-z]+)*", rule_id)] == []


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_is_told_to_people_in_sentences(rule: Any) -> None:
    for sentence in (rule.text, rule.user_text):
        assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
        assert 20 < len(sentence) <= 120
        assert rule.id not in sentence
    assert rule.normal
    assert rule.known_false_positives
    assert rule.observed[1]
    assert re.fullmatch(r"[A-Z][^\n]*\.", rule.clearing)


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_names_techniques_of_one_attack_version(rule: Any) -> None:
    assert rule.attack
    assert len(set(rule.attack)) == len(rule.attack)
    assert [uid for uid in rule.attack if not re.fullmatch(r"T\d{4}(\.\d{3})?", uid)] == []
    assert re.fullmatch(r"\d+\.\d+", ATTACK_VERSION)


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_names_members_of_inputs_without_which_it_cannot_fire(rule: Any) -> None:
    inputs = [topic for topic in TOPICS.values() if topic.direction in ("input", "control")]
    there = {f"{topic.name}.{member}" for topic in inputs for member in topic.model.model_fields}

    assert rule.needs
    assert len(set(rule.needs)) == len(rule.needs)
    assert sorted(set(rule.needs) - there) == []


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_refers_to_sections_that_can_be_looked_up(rule: Any) -> None:
    sections = (
        r"NIST CSF 2\.0 (GV|ID|PR|DE|RS|RC)\.[A-Z]{2}-\d\d|NIST SP 800-207 §2\.1 tenet [1-7]"
        r"|NHI(10|[1-9]):2025|RFC \d{4} §[\d.]+"
    )

    assert rule.references
    assert [one for one in rule.references if not re.fullmatch(sections, one)] == []


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_rests_on_a_signal_or_on_what_holds(rule: Any) -> None:
    assert not (rule.signal and rule.holds)
    assert not rule.signal or rule.signal in SIGNAL_BIT
    assert rule.signal or rule.observed[0] or rule.holds


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_detection_weighs_what_its_severity_says(rule: Any) -> None:
    least = {"LOW": 0.0, "MEDIUM": 3.6, "HIGH": 5.4}

    assert rule.weight >= least[rule.severity]
    assert rule.severity == "HIGH" or rule.weight < least["HIGH"]
    assert rule.hold_s >= 0


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_what_is_normal_is_told_with_the_limits_in_force(rule: Any) -> None:
    told = rule.normal.format(**rule.limits)

    assert "{" not in told
    assert len(told) <= 256


def _facts(events: list[Event]) -> dict[str, Any]:
    columns = Columns()
    make = {
        "auth-events": columns.auths,
        "api-calls": columns.calls,
        "session-context": columns.contexts,
        "session-feedback": columns.verdicts,
    }
    batch = make[topic_of(events[0])](events)
    return fold(SessionTable(), segments(np.zeros(len(events), np.int64)), batch).facts


def test_what_was_observed_can_be_shown_of_every_detection() -> None:
    for events in ([call(0)], [auth(0)], [context(0)], [{**feedback(0), "event_id": "f"}]):
        facts = _facts(events)
        assert sorted({rule.observed[0] for rule in RULES} - {"", *facts, *FEATURE_NAMES}) == []


def test_the_mask_has_a_bit_for_every_rule_that_holds() -> None:
    facts = _facts([call(0), call(1, records=6000, sensitivity="restricted")])

    mask = firing(facts, tuple(rule.limits for rule in RULES), 2)

    assert mask.tolist() == [0, 1 << BIT["mass_read"]]
