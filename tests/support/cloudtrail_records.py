"""Records of CloudTrail as tests write them, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import Conversion
from pipeline.sources.cloudtrail import convert
from pipeline.sources.cloudtrail.record import digest

NOON_MS = 1_717_243_200_000
ANA = "arn:aws:iam::111122223333:user/ana"
ROLE = "arn:aws:iam::111122223333:role/deploy"
USER = {
    "type": "IAMUser",
    "arn": ANA,
    "accountId": "111122223333",
    "accessKeyId": "AKIAANA",
    "userName": "ana",
}
EC2 = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
HEAD = {"occurred_at": NOON_MS, "tenant": "aws-111122223333"}
BY_ANA = HEAD | {"session_id": "AKIAANA", "principal_id": ANA, "principal_kind": "api_key"}
CLIENT = {"ip": "203.0.113.7", "user_agent": "aws-cli/2", "token_id": digest("AKIAANA")}


def record(call: str = "ec2:DescribeVpcs", second: int = 0, by: dict[str, Any] = USER, **members: Any) -> Any:
    """Return a record of a call, Ana's unless told otherwise; its id is told by service, name and second."""
    service, name = call.split(":")
    return {
        "eventID": f"{name}-{second}",
        "eventTime": f"2024-06-01T12:00:{second:02}Z",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "userIdentity": by,
        "recipientAccountId": "111122223333",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2",
        "readOnly": True,
    } | members


def temporary(key: str, type_: str = "IAMUser", arn: str = ANA, created: str = "12:00:00", **members: Any) -> Any:
    attributes = {"creationDate": f"2024-06-01T{created}Z", "mfaAuthenticated": members.pop("mfa", "false")}
    context = {"attributes": attributes, "sessionIssuer": {"arn": members.pop("issuer", ROLE)}}
    return (
        {"type": type_, "arn": arn, "accountId": "111122223333", "accessKeyId": key}
        | members
        | {"sessionContext": context}
    )


def assumed(session_name: str, key: str = "ASIANEW") -> dict[str, Any]:
    arn = f"arn:aws:sts::111122223333:assumed-role/deploy/{session_name}"
    return {
        "requestParameters": {"roleArn": ROLE, "roleSessionName": session_name},
        "responseElements": {"credentials": {"accessKeyId": key}, "assumedRoleUser": {"arn": arn}},
    }


Convert = Callable[..., Conversion]


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    def convert_records(*records: Any) -> Conversion:
        log = tmp_path / "log.json"
        log.write_text(json.dumps({"Records": records}))
        return convert([log])

    return convert_records


def kinds(conversion: Conversion) -> dict[str, str]:
    every = [event for events in conversion.events.values() for event in events]
    return {event["session_id"]: event["principal_kind"] for event in every}


def parents(conversion: Conversion) -> list[tuple[str, str]]:
    born = (event for event in conversion.events["auth-events"] if "parent_session_id" in event)
    return [(event["parent_session_id"], event["session_id"]) for event in born]


def actions(conversion: Conversion) -> list[tuple[str, str]]:
    return [(event["action"], event["session_id"]) for event in conversion.events["auth-events"]]
