"""Complete CloudTrail logs: every record is counted or becomes valid events, in order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offline.replay import recording
from pipeline.offline.replay.recording import write_conversion
from pipeline.sources import Conversion, Counts
from pipeline.sources.cloudtrail import catalogue, convert
from pipeline.sources.cloudtrail.convert import TOPIC_OF
from schemas.events import EVENT_TYPES
from tests.support.cloudtrail_records import (
    EC2,
    Convert,
    assumed,
    converted,
    kinds,
    parents,
    record,
    temporary,
)

__all__ = ["converted"]  # a fixture

DATA = Path(__file__).parent.parent / "data" / "cloudtrail"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("text", "malformed"),
        (None, "malformed"),
        ({}, "malformed"),
        (record() | {"eventTime": "yesterday"}, "malformed"),
        (record() | {"eventTime": "2024-06-01T12:00:00"}, "malformed"),
        (record() | {"eventTime": "0001-01-01T00:00:00Z"}, "malformed"),
        (record() | {"eventID": 7}, "malformed"),
        (record() | {"eventName": ""}, "malformed"),
        (record() | {"userIdentity": None}, "caller_without_session"),
        (record(by={"type": "AWSAccount", "accountId": "1"}), "caller_without_session"),
        (record(by=EC2), "made_by_service"),
        (record(by={"accountId": "1", "invokedBy": "ec2.amazonaws.com"}), "made_by_service"),
        (record(by=temporary("ASIA1") | {"invokedBy": "kms.amazonaws.com"}), "forwarded_by_service"),
    ],
)
def test_a_record_that_becomes_nothing_is_counted_with_its_reason(converted: Convert, raw: Any, reason: str) -> None:
    conversion = converted(raw, record(second=9))

    assert conversion.counts == Counts(2, {"auth-events": 1, "api-calls": 1}, {reason: 1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
overrides = st.sampled_from([*record(), "requestParameters", "responseElements", "errorCode", "resources"])
identity_members = st.sampled_from([*temporary("A", userName="ana"), "invokedBy", "principalId"])


@given(
    st.sampled_from(
        [
            *("signin:ConsoleLogin", "s3:PutBucketPolicy", "ec2:AuthorizeSecurityGroupIngress"),
            *(*catalogue.ISSUES_KEY, *catalogue.CREDENTIALS, *catalogue.READS_NAMED),
        ]
    ),
    st.dictionaries(overrides, json_values, max_size=4),
    st.dictionaries(identity_members, json_values, max_size=3),
)
def test_whatever_a_record_holds_it_is_counted_or_becomes_valid_events(
    tmp_path_factory: pytest.TempPathFactory, call: str, odd: dict[str, Any], odd_identity: dict[str, Any]
) -> None:
    log = tmp_path_factory.getbasetemp() / "odd.json"
    by = temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/deploy/x") | odd_identity
    log.write_text(json.dumps([record(call, by=by, **assumed("job")) | odd]))
    conversion = convert([log])

    assert bool(conversion.counts.skipped) != any(conversion.counts.converted.values())
    assert_valid(conversion)


def assert_valid(conversion: Conversion) -> None:
    """Check every event against the contract, for the topic it is in, and the ids to be unique."""
    for topic, events in conversion.events.items():
        for event in events:
            EVENT_TYPES[event["type"]].model_validate(event)
            assert TOPIC_OF[event["type"]] == topic
    ids = Counter(event["event_id"] for events in conversion.events.values() for event in events)
    assert [event_id for event_id, times in ids.items() if times > 1] == []


def test_recorded_attacks_convert_whole() -> None:
    conversion = convert([DATA / "stratus"])

    assert conversion.counts == Counts(44, {"auth-events": 16, "api-calls": 43}, {})
    assert_valid(conversion)
    assert parents(conversion) == [
        ("AKIAOZUDECYXYM4ONAN4", "AKIAXAFZN8JEPF6L682H"),
        ("AKIADVISM0T50G52IF0D", "ASIAMOWPWQJ1QHWCWJXJ"),
        ("AKIADVISM0T50G52IF0D", "ASIA36EV31F1RB3OA8IG"),
        ("AKIA6V1GNZTT65XQH36M", "ASIASTJKC5GCM7ZE6LUP"),
    ]
    assert Counter(kinds(conversion).values()) == {"api_key": 12, "human": 2}
    assert Counter(row.family for row in conversion.truth) == {
        "cloudtrail-stop": 1,
        "console-login-without-mfa": 1,
        "ec2-serial-console-send-ssh-public-key": 1,
        "iam-create-admin-user": 2,
        "iam-create-user-login-profile": 1,
        "organizations-leave": 3,
        "rds-share-snapshot": 1,
        "secretsmanager-batch-retrieve-secrets": 1,
        "secretsmanager-retrieve-secrets": 1,
        "sts-federation-token": 2,
    }


def test_a_recorded_lab_converts_whole() -> None:
    conversion = convert([DATA / "invictus"])

    skipped = {"forwarded_by_service": 3, "made_by_service": 1}
    assert conversion.counts == Counts(18, {"auth-events": 4, "api-calls": 14}, skipped)
    assert_valid(conversion)
    assert kinds(conversion) == {
        "AKIATFQR7NSC8Q4X20BJ": "api_key",
        "ASIATFQR7NSCSHSEVYP5": "service",
        "ASIATFQR7NSCWFKWOWVD": "service",
        "arn:aws:iam::123837392027:user/benjamin@2023-07-10T11:42:31Z": "human",
    }


def test_the_same_files_in_any_order_give_the_same_bytes() -> None:
    paths = sorted(DATA.glob("*/*.json"))

    assert len(paths) == 13
    assert json.dumps(convert(paths).events) == json.dumps(convert(reversed(paths)).events)
    assert convert(paths) == convert([DATA])


def test_events_of_a_topic_stand_in_order_of_time() -> None:
    for events in convert([DATA]).events.values():
        times = [event["occurred_at"] for event in events]
        assert times == sorted(times)


def test_a_conversion_is_saved_as_a_labelled_recording(tmp_path: Path) -> None:
    conversion = convert([DATA])
    write_conversion(conversion, tmp_path / "saved")

    lines = [json.loads(line.value) for line in recording.read(tmp_path / "saved")]
    assert [line for line in lines if line["type"] == "api.call"] == conversion.events["api-calls"]
    assert [line for line in lines if line["type"] == "auth.event"] == conversion.events["auth-events"]
    assert recording.read_truth(tmp_path / "saved") == conversion.truth
