"""CloudTrail logs become events: in whose session a call is, where that was born, what is skipped and why."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import recording
from pipeline.convert import Conversion, Counts, UnreadableLogError, catalogue, convert, save
from pipeline.convert.cloudtrail import TOPIC_OF
from pipeline.convert.entry import client_ip, client_software
from pipeline.convert.text import digest
from schemas.events import EVENT_TYPES, ApiCall, AuthEvent

DATA = Path(__file__).parent / "data" / "cloudtrail"
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


def temporary(
    key: str, type_: str = "IAMUser", arn: str = ANA, created: str = "12:00:00", **members: Any
) -> Any:
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


def test_a_call_begins_the_session_of_its_access_key_and_is_told_in_full(converted: Convert) -> None:
    secret = {"secretId": "db-password"}
    moved = {"bytesTransferredIn": 0.0, "bytesTransferredOut": 375.0}
    call = record("secretsmanager:GetSecretValue", requestParameters=secret, additionalEventData=moved)

    assert converted(call) == Conversion(
        events={
            "auth-events": [
                BY_ANA
                | CLIENT
                | {"type": "auth.event", "event_id": "GetSecretValue-0:start", "action": "token_issued"}
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


def test_an_assumed_role_is_a_session_born_from_the_callers(converted: Convert) -> None:
    by_role = temporary("ASIANEW", "AssumedRole", "arn:aws:sts::111122223333:assumed-role/deploy/job")
    conversion = converted(record("sts:AssumeRole", **assumed("job")), record(by=by_role))

    born = {"event_id": "AssumeRole-0:born", "action": "token_exchanged", "reason": "sts:AssumeRole"}
    session = {"session_id": "ASIANEW", "principal_id": ROLE, "principal_kind": "api_key"}
    assert conversion.events["auth-events"] == [
        HEAD | session | CLIENT | born | {
            "type": "auth.event", "token_id": digest("ASIANEW"), "parent_session_id": "AKIAANA"
        },
        BY_ANA | CLIENT | {"type": "auth.event", "event_id": "AssumeRole-0:start", "action": "token_issued"},
    ]  # fmt: skip
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


def test_a_refused_request_for_credentials_begins_nothing(converted: Convert) -> None:
    made = {"accessKey": {"accessKeyId": "AKIANEW"}}
    refused = record("iam:CreateAccessKey", errorCode="AccessDenied", responseElements=made)

    assert actions(converted(refused)) == [("token_issued", "AKIAANA")]
    assert converted(refused).events["api-calls"][0]["status"] == 403


def test_a_session_token_and_a_federated_user_are_born_from_the_key_that_asked(converted: Convert) -> None:
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


def test_a_role_of_another_account_is_born_once_in_the_tenant_of_that_account(converted: Convert) -> None:
    there = {"recipientAccountId": "999900001111", "eventID": "A-record-of-the-other-account"}
    role = assumed("job")
    role["responseElements"]["assumedRoleUser"]["arn"] = "arn:aws:sts::999900001111:assumed-role/deploy/job"
    outsider = {"type": "AWSAccount", "accountId": "111122223333"}
    conversion = converted(
        record("sts:AssumeRole", **role), record("sts:AssumeRole", by=outsider, **role) | there
    )

    assert parents(conversion) == [("AKIAANA", "ASIANEW")]
    assert conversion.events["auth-events"][0]["tenant"] == "aws-999900001111"
    assert conversion.counts.skipped == {"caller_without_session": 1}


def test_a_child_is_never_born_after_its_first_call(converted: Convert) -> None:
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


SSO = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_admin_0"
LINKED = "arn:aws:iam::111122223333:role/aws-service-role/rds.amazonaws.com/AWSServiceRoleForRDS"


@pytest.mark.parametrize(
    ("identity", "kind", "principal"),
    [
        (USER, "api_key", ANA),
        (
            {"type": "Root", "arn": "arn:aws:iam::1:root", "accessKeyId": "AKIAROOT"},
            "api_key",
            "arn:aws:iam::1:root",
        ),
        (temporary("ASIA1", "Root", "arn:aws:iam::1:root", mfa="true"), "human", "arn:aws:iam::1:root"),
        (temporary("ASIA1"), "api_key", ANA),
        (temporary("ASIA1", mfa="true"), "human", ANA),
        (temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/deploy/x1"), "api_key", ROLE),
        (temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/s/ana", issuer=SSO), "human", None),
        (temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/w/i-0a1b2c3d"), "service", None),
        (temporary("", "AssumedRole", "arn:aws:sts::1:assumed-role/rds/x", issuer=LINKED), "service", LINKED),
        (
            temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/rds/x", issuer=LINKED)
            | {"invokedBy": "rds.amazonaws.com"},
            "service",
            LINKED,
        ),
        (
            temporary("ASIA1", "AssumedRole", "arn:aws:sts::1:assumed-role/web/x")
            | {"sessionContext": {"ec2RoleDelivery": "2.0", "sessionIssuer": {"arn": ROLE}}},
            "service",
            ROLE,
        ),
        (temporary("ASIA1", "FederatedUser", "arn:aws:sts::1:federated-user/g"), "api_key", None),
    ],
)
def test_the_kind_and_principal_of_a_session_follow_from_its_identity(
    converted: Convert, identity: dict[str, Any], kind: str, principal: str | None
) -> None:
    (event,) = converted(record(by=identity)).events["api-calls"]

    assert (event["principal_kind"], event["principal_id"]) == (kind, principal or identity["arn"])


@pytest.mark.parametrize(
    ("call", "by", "answer", "kind", "principal"),
    [
        ("sts:AssumeRole", EC2, assumed("awslambda_1"), "service", ROLE),
        (
            "sts:AssumeRoleWithSAML",
            {"type": "SAMLUser", "userName": "ana"},
            assumed("ana"),
            "human",
            "arn:aws:sts::111122223333:assumed-role/deploy/ana",
        ),
        ("sts:AssumeRoleWithWebIdentity", {"type": "WebIdentityUser"}, assumed("ci"), "api_key", ROLE),
        (
            "sts:AssumeRoot",
            USER,
            {
                "requestParameters": {"targetPrincipal": "999900001111"},
                "responseElements": {"credentials": {"accessKeyId": "ASIANEW"}},
            },
            "api_key",
            "arn:aws:iam::999900001111:root",
        ),
    ],
)
def test_a_session_seen_only_at_its_birth_has_the_kind_that_its_birth_shows(
    converted: Convert, call: str, by: dict[str, Any], answer: dict[str, Any], kind: str, principal: str
) -> None:
    events = converted(record(call, by=by, **answer)).events["auth-events"]

    (born,) = (event for event in events if event["session_id"] == "ASIANEW")
    assert (born["principal_kind"], born["principal_id"]) == (kind, principal)


def test_a_role_taken_in_the_console_is_as_human_as_who_took_it(converted: Convert) -> None:
    taken = record("sts:AssumeRole", 1, by=temporary("ASIA1", mfa="true"), **assumed("ana"))

    assert kinds(converted(taken)) == {f"{ANA}@2024-06-01T12:00:00Z": "human", "ASIANEW": "human"}


def test_sessions_that_claim_to_be_each_others_parent_still_have_a_kind(converted: Convert) -> None:
    roles = {
        key: temporary(key, "AssumedRole", f"arn:aws:sts::1:assumed-role/deploy/{key}") for key in ("A", "B")
    }
    conversion = converted(
        record("sts:AssumeRole", 1, by=roles["A"], **assumed("B", "B")),
        record("sts:AssumeRole", 2, by=roles["B"], **assumed("A", "A")),
    )

    assert kinds(conversion) == {"A": "api_key", "B": "api_key"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (None, 200),
        ("AccessDenied", 403),
        ("Client.UnauthorizedOperation", 403),
        ("InvalidClientTokenId", 403),
        ("ThrottlingException", 429),
        ("Client.RequestLimitExceeded", 429),
        ("NoSuchBucketPolicy", 404),
        ("Client.InvalidVpcID.NotFound", 404),
        ("InvocationDoesNotExist", 404),
        ("ServiceUnavailable", 503),
        ("Server.InsufficientInstanceCapacity", 500),
        ("BucketNotEmpty", 400),
    ],
)
def test_an_error_code_has_the_status_it_stands_for(code: str | None, status: int) -> None:
    assert catalogue.status(code) == status


@pytest.mark.parametrize(
    ("call", "request_", "sensitivity", "records"),
    [
        ("ssm:GetParameters", {"names": ["a", "b"], "withDecryption": True}, "restricted", 2),
        ("ssm:GetParameters", {"names": ["a", "b"], "withDecryption": False}, "internal", 2),
        ("secretsmanager:BatchGetSecretValue", {"secretIdList": ["a", "b", "c"]}, "restricted", 3),
        ("secretsmanager:BatchGetSecretValue", {"filters": []}, "restricted", None),
        ("ec2:DescribeInstanceAttribute", {"attribute": "userData"}, "confidential", None),
        ("s3:ListObjects", {"max-keys": "1000"}, "internal", None),
        ("ec2:DescribeVpcs", None, "internal", None),
    ],
)
def test_what_a_call_reads_is_told_as_far_as_the_log_does(
    converted: Convert, call: str, request_: Any, sensitivity: str, records: int | None
) -> None:
    (event,) = converted(record(call, requestParameters=request_)).events["api-calls"]
    (denied,) = converted(record(call, requestParameters=request_, errorCode="AccessDenied")).events[
        "api-calls"
    ]

    assert (event["sensitivity"], event.get("records")) == (sensitivity, records)
    assert (denied["sensitivity"], denied["records"]) == (sensitivity, 0)


def test_a_list_of_secrets_is_one_thing_and_another_list_another(converted: Convert) -> None:
    lists = (["a", "b"], ["b", "a"], ["a", "c"])
    records = [
        record("ssm:GetParameters", second, requestParameters={"names": names})
        for second, names in enumerate(lists)
    ]

    first, same, other = (event["resource"] for event in converted(*records).events["api-calls"])

    assert first == same != other


@pytest.mark.parametrize(
    ("logged", "operation"),
    [
        ("lambda:UpdateFunctionCode20150331v2", "lambda:UpdateFunctionCode"),
        ("lambda:AddPermission20150331", "lambda:AddPermission"),
        ("cloudfront:CreateDistribution2020_05_31", "cloudfront:CreateDistribution"),
        ("ec2:DescribeVpcs", "ec2:DescribeVpcs"),
        ("s3:ListObjectsV2", "s3:ListObjectsV2"),
    ],
)
def test_an_action_is_told_without_the_version_of_its_api(
    converted: Convert, logged: str, operation: str
) -> None:
    (event,) = converted(record(logged)).events["api-calls"]

    assert event["operation"] == operation


@pytest.mark.parametrize(
    ("agent", "members", "ip"),
    [
        ("[S3Console/0.4, aws-internal/3]", {}, None),
        ("[S3Console/0.4, aws-internal/3]", {"sourceIPAddress": "203.0.113.7"}, "203.0.113.7"),
        ("AWS Internal", {"sessionCredentialFromConsole": "true"}, "10.1.2.3"),
        ("aws-cli/2", {}, "10.1.2.3"),
    ],
)
def test_an_address_of_a_host_of_aws_is_not_the_clients(
    converted: Convert, agent: str, members: dict[str, Any], ip: str | None
) -> None:
    one = record(userAgent=agent, **{"sourceIPAddress": "10.1.2.3", **members})

    (event,) = converted(one).events["api-calls"]

    assert event.get("ip") == ip


def test_the_tables_speak_of_operations_and_in_words_of_the_contract() -> None:
    operations = [*catalogue.CREDENTIALS, *catalogue.MINTS, *catalogue.SIGN_IN, *catalogue.READS_ONE]
    operations += [*catalogue.SENSITIVITY, *catalogue.SENSITIVE_WHEN, *catalogue.READS_NAMED]
    assert [name for name in operations if not re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", name)] == []

    told = {*catalogue.CREDENTIALS.values(), *catalogue.SIGN_IN.values()}
    assert told <= set(get_args(AuthEvent.model_fields["action"].annotation))
    levels = {*catalogue.SENSITIVITY.values(), *(row[2] for row in catalogue.SENSITIVE_WHEN.values())}
    assert (
        levels <= {"confidential", "restricted"} <= set(str(ApiCall.model_fields["sensitivity"]).split("'"))
    )


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("225.01.00.016", "225.1.0.16"),
        ("2001:DB8::1", "2001:db8::1"),
        ("999.1.1.1", None),
        ("fe80::1%eth0", None),
        ("ec2.amazonaws.com", None),
        ("AWS Internal", None),
        (None, None),
    ],
)
def test_only_an_address_is_an_ip(address: str | None, ip: str | None) -> None:
    assert client_ip(address) == ip


@pytest.mark.parametrize(
    ("agent", "software"),
    [
        ("[aws-cli/2]", "aws-cli/2"),
        ("aws-cli/2", "aws-cli/2"),
        ("x" * 600, "x" * 512),
        ("\ud800", "?"),
        ("cloudformation.amazonaws.com", None),
        ("AWS Internal", None),
        ("[S3Console/0.4, aws-internal/3 aws-sdk-java/1.12.488]", None),
        ("", None),
    ],
)
def test_aws_calling_for_a_client_is_not_the_clients_software(agent: str, software: str | None) -> None:
    assert client_software(agent) == software


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
def test_a_record_that_becomes_nothing_is_counted_with_its_reason(
    converted: Convert, raw: Any, reason: str
) -> None:
    conversion = converted(raw, record(second=9))

    assert conversion.counts == Counts(2, {"auth-events": 1, "api-calls": 1}, {reason: 1})


def test_an_event_in_two_files_is_one_event_and_keeps_its_label(tmp_path: Path) -> None:
    for name in ("aws.discovery.ec2-look-around.json", "1111_CloudTrail.json"):
        (tmp_path / name).write_text(json.dumps([record(), record(second=5)]))
    conversion = convert([tmp_path])

    assert conversion.counts == Counts(4, {"auth-events": 1, "api-calls": 2}, {"duplicate": 2})
    assert conversion.truth == [
        recording.Truth(
            tenant="aws-111122223333",
            session_id="AKIAANA",
            label="attack",
            family="ec2-look-around",
            started_at=NOON_MS,
            ended_at=NOON_MS + 5000,
        )
    ]


TWO = [record(), record(second=1)]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"Records": TWO}).encode(),
        json.dumps(TWO, indent=1).encode(),
        b"\xef\xbb\xbf" + json.dumps(TWO).encode(),
        "\n\n".join(map(json.dumps, TWO)).encode(),
        "\n".join(json.dumps({"Records": [one]}) for one in TWO).encode(),
        gzip.compress(json.dumps({"Records": TWO}).encode()),
        gzip.compress("\n".join(map(json.dumps, TWO)).encode()),
    ],
)
def test_every_way_to_pack_records_reads_the_same(tmp_path: Path, converted: Convert, content: bytes) -> None:
    log = tmp_path / "packed"
    log.write_bytes(content)

    assert convert([log]) == converted(*TWO)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"Records": [\n  {"eventID": }]}', "line 2, column 15"),
        (b'{"eventID": "1"}\n{"eventID": "2"', "line 2"),
        (b"\xff\xfe", "byte 0"),
        (gzip.compress(b"[]" * 100)[:-9], "gzip"),
        (b'{"Records": 7}', "Records"),
        (b'{"digestS3Object": "x"}', "top level"),
        (b"7", "Records"),
        (b"[" * 100_000, "content"),
    ],
)
def test_a_file_that_is_no_log_is_named_with_the_place(tmp_path: Path, content: bytes, place: str) -> None:
    log = tmp_path / "broken.json"
    log.write_bytes(content)

    with pytest.raises(UnreadableLogError, match=re.escape(f"{log}, {place}: ")):
        convert([log])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLogError, match=r"gone\.json, opening: No such file"):
        convert([tmp_path / "gone.json"])


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_bytes(b"")

    assert convert([tmp_path]).counts == Counts(0, {"auth-events": 0, "api-calls": 0}, {})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
members = st.sampled_from([*record(), "requestParameters", "responseElements", "errorCode", "resources"])
identity_members = st.sampled_from([*temporary("A", userName="ana"), "invokedBy", "principalId"])


@given(
    st.sampled_from(
        [
            *("signin:ConsoleLogin", "s3:PutBucketPolicy", "ec2:AuthorizeSecurityGroupIngress"),
            *(*catalogue.MINTS, *catalogue.CREDENTIALS, *catalogue.READS_NAMED),
        ]
    ),
    st.dictionaries(members, json_values, max_size=4),
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
    save(conversion, tmp_path / "saved")

    lines = [json.loads(line.value) for line in recording.read(tmp_path / "saved")]
    assert [line for line in lines if line["type"] == "api.call"] == conversion.events["api-calls"]
    assert [line for line in lines if line["type"] == "auth.event"] == conversion.events["auth-events"]
    assert recording.read_truth(tmp_path / "saved") == conversion.truth
