"""Sessions of CloudTrail calls: which session a call belongs to, and which calls start one."""

from __future__ import annotations

from typing import Any

from pipeline.sources import Conversion, Counts
from pipeline.sources.cloudtrail.record import digest
from tests.support.cloudtrail_records import (
    ANA,
    BY_ANA,
    CLIENT,
    EC2,
    HEAD,
    NOON_MS,
    ROLE,
    USER,
    Convert,
    actions,
    assumed,
    converted,
    kinds,
    parents,
    record,
    temporary,
)

__all__ = ["converted"]  # a fixture


def test_a_call_starts_the_session_of_its_access_key_and_is_converted_in_full(converted: Convert) -> None:
    secret = {"secretId": "db-password"}
    moved = {"bytesTransferredIn": 0.0, "bytesTransferredOut": 375.0}
    call = record("secretsmanager:GetSecretValue", requestParameters=secret, additionalEventData=moved)

    assert converted(call) == Conversion(
        events={
            "auth-events": [
                BY_ANA | CLIENT | {"type": "auth.event", "event_id": "GetSecretValue-0:start", "action": "token_issued"}
            ],
            "api-calls": [
                BY_ANA
                | CLIENT
                | {
                    "type": "api.call",
                    "event_id": "GetSecretValue-0",
                    "operation": "secretsmanager:GetSecretValue",
                    "status": 200,
                    "method": "READ",
                    "bytes_in": 0,
                    "bytes_out": 375,
                    "records": 1,
                    "sensitivity": "restricted",
                    "resource": digest("db-password"),
                }
            ],
        },
        truth=[],
        counts=Counts(read=1, converted={"auth-events": 1, "api-calls": 1}, skipped={}),
    )


def test_an_assumed_role_is_a_child_of_the_callers_session(converted: Convert) -> None:
    by_role = temporary("ASIANEW", "AssumedRole", "arn:aws:sts::111122223333:assumed-role/deploy/job")
    conversion = converted(record("sts:AssumeRole", **assumed("job")), record(by=by_role))

    issued = {"event_id": "AssumeRole-0:born", "action": "token_exchanged", "reason": "sts:AssumeRole"}
    session = {"session_id": "ASIANEW", "principal_id": ROLE, "principal_kind": "api_key"}
    assert conversion.events["auth-events"] == [
        HEAD
        | session
        | CLIENT
        | issued
        | {"type": "auth.event", "token_id": digest("ASIANEW"), "parent_session_id": "AKIAANA"},
        BY_ANA | CLIENT | {"type": "auth.event", "event_id": "AssumeRole-0:start", "action": "token_issued"},
    ]
    assert [event["session_id"] for event in conversion.events["api-calls"]] == ["AKIAANA", "ASIANEW"]


def test_a_new_access_key_is_another_users_session_whose_client_is_not_yet_known(converted: Convert) -> None:
    made = {"accessKey": {"accessKeyId": "AKIANEW", "userName": "eve"}}
    conversion = converted(record("iam:CreateAccessKey", responseElements=made, readOnly=False))

    assert actions(conversion) == [
        ("token_exchanged", "AKIANEW"),
        ("token_issued", "AKIAANA"),
        ("credential_added", "AKIAANA"),
    ]
    assert conversion.events["auth-events"][0] == HEAD | {
        "type": "auth.event",
        "event_id": "CreateAccessKey-0:born",
        "session_id": "AKIANEW",
        "principal_id": "arn:aws:iam::111122223333:user/eve",
        "principal_kind": "api_key",
        "token_id": digest("AKIANEW"),
        "action": "token_exchanged",
        "parent_session_id": "AKIAANA",
        "reason": "iam:CreateAccessKey",
    }


def test_a_refused_request_for_credentials_starts_no_session(converted: Convert) -> None:
    made = {"accessKey": {"accessKeyId": "AKIANEW"}}
    refused = record("iam:CreateAccessKey", errorCode="AccessDenied", responseElements=made)

    assert actions(converted(refused)) == [("token_issued", "AKIAANA")]
    assert converted(refused).events["api-calls"][0]["status"] == 403


def test_a_session_token_and_a_federated_user_are_children_of_the_requesting_key(converted: Convert) -> None:
    token = {"credentials": {"accessKeyId": "ASIATOKEN"}}
    guest = {"arn": "arn:aws:sts::111122223333:federated-user/guest"}
    federated = {"credentials": {"accessKeyId": "ASIAGUEST"}, "federatedUser": guest}
    conversion = converted(
        record("sts:GetSessionToken", responseElements=token),
        record("sts:GetFederationToken", 1, responseElements=federated),
        record(second=2, by=temporary("ASIATOKEN")),
    )

    assert parents(conversion) == [("AKIAANA", "ASIATOKEN"), ("AKIAANA", "ASIAGUEST")]
    assert kinds(conversion) == dict.fromkeys(["AKIAANA", "ASIATOKEN", "ASIAGUEST"], "api_key")


def test_a_role_of_another_account_is_issued_once_in_the_tenant_of_that_account(converted: Convert) -> None:
    there = {"recipientAccountId": "999900001111", "eventID": "A-record-of-the-other-account"}
    role = assumed("job")
    role["responseElements"]["assumedRoleUser"]["arn"] = "arn:aws:sts::999900001111:assumed-role/deploy/job"
    outsider = {"type": "AWSAccount", "accountId": "111122223333"}
    conversion = converted(record("sts:AssumeRole", **role), record("sts:AssumeRole", by=outsider, **role) | there)

    assert parents(conversion) == [("AKIAANA", "ASIANEW")]
    assert conversion.events["auth-events"][0]["tenant"] == "aws-999900001111"
    assert conversion.counts.skipped == {"caller_without_session": 1}


def test_a_child_is_never_issued_after_its_first_call(converted: Convert) -> None:
    by_role = temporary("ASIANEW", "AssumedRole", "arn:aws:sts::111122223333:assumed-role/deploy/job")
    conversion = converted(record(by=by_role), record("sts:AssumeRole", 1, **assumed("job")))

    assert conversion.events["auth-events"][0]["occurred_at"] == NOON_MS
    assert actions(conversion) == [("token_exchanged", "ASIANEW"), ("token_issued", "AKIAANA")]


def test_credentials_given_to_an_instance_are_a_service_session_on_that_device(converted: Convert) -> None:
    by_service: dict[str, Any] = {"sourceIPAddress": "ec2.amazonaws.com", "userAgent": "ec2.amazonaws.com"}
    conversion = converted(record("sts:AssumeRole", by=EC2, **by_service, **assumed("i-0123456789abcdef0")))

    assert conversion.events["api-calls"] == []
    assert conversion.counts == Counts(1, {"auth-events": 1, "api-calls": 0}, {})
    assert conversion.events["auth-events"] == [
        HEAD
        | {
            "type": "auth.event",
            "event_id": "AssumeRole-0:born",
            "session_id": "ASIANEW",
            "principal_id": "arn:aws:sts::111122223333:assumed-role/deploy/i-0123456789abcdef0",
            "principal_kind": "service",
            "device_id": "i-0123456789abcdef0",
            "token_id": digest("ASIANEW"),
            "action": "token_issued",
            "workload": "instance",
            "reason": "sts:AssumeRole",
        }
    ]


def test_a_session_name_that_a_caller_chose_makes_no_instance(converted: Convert) -> None:
    conversion = converted(record("sts:AssumeRole", **assumed("i-0123456789abcdef0")))

    assert [event.get("device_id") for event in conversion.events["auth-events"]] == [None, None]
    assert kinds(conversion)["ASIANEW"] == "api_key"


def test_the_keys_of_a_console_sign_in_are_one_human_session(converted: Convert) -> None:
    without_key = {member: USER[member] for member in ("type", "arn", "accountId", "userName")}
    login = record(
        "signin:ConsoleLogin",
        by=without_key,
        responseElements={"ConsoleLogin": "Success"},
        additionalEventData={"MFAUsed": "Yes"},
    )
    pages = [record("s3:AListing", n, by=temporary(f"ASIAPAGE{n}", mfa="true")) for n in (0, 1)]
    conversion = converted(login, *pages)

    session_id = f"{ANA}@2024-06-01T12:00:00Z"
    assert kinds(conversion) == {session_id: "human"}
    assert actions(conversion) == [("sign_in", session_id)]
    assert conversion.events["auth-events"][0]["amr"] == ["pwd", "mfa"]
    assert [event["token_id"] for event in conversion.events["api-calls"]] == [
        digest("ASIAPAGE0"),
        digest("ASIAPAGE1"),
    ]


def test_what_fails_at_the_sign_in_page_stays_there(converted: Convert) -> None:
    nobody = {"type": "IAMUser", "accountId": "111122223333", "accessKeyId": "", "userName": "ana"}
    failure = {"responseElements": {"ConsoleLogin": "Failure"}, "errorMessage": "Failed authentication"}
    conversion = converted(
        record("signin:CheckMfa", by=nobody, responseElements={"CheckMfa": "Success"}),
        record("signin:ConsoleLogin", 1, by=nobody, **failure),
        record(second=2),
    )

    page = "signin:111122223333:ana"
    assert actions(conversion) == [
        ("mfa_challenged", page),
        ("sign_in_failed", page),
        ("token_issued", "AKIAANA"),
    ]
    assert conversion.events["auth-events"][1] == HEAD | {
        "occurred_at": NOON_MS + 1000,
        "type": "auth.event",
        "event_id": "ConsoleLogin-1:sign-in",
        "session_id": page,
        "principal_id": ANA,
        "principal_kind": "human",
        "ip": "203.0.113.7",
        "user_agent": "aws-cli/2",
        "action": "sign_in_failed",
        "amr": ["pwd"],
        "reason": "Failed authentication",
    }


def test_a_forwarded_call_counts_in_a_session_only_if_its_credentials_are_known(converted: Convert) -> None:
    service = {"invokedBy": "cloudformation.amazonaws.com"}
    conversion = converted(
        record("iam:CreateUser", by=temporary("ASIAONE") | service),
        record(second=1, by=temporary("ASIATWO")),
        record("kms:Decrypt", 2, by=temporary("ASIATHREE", created="12:00:02") | service),
    )

    assert [event["event_id"] for event in conversion.events["auth-events"]] == ["CreateUser-0:start"]
    assert [event["event_id"] for event in conversion.events["api-calls"]] == [
        "CreateUser-0",
        "DescribeVpcs-1",
    ]
    assert conversion.counts.skipped == {"forwarded_by_service": 1}
