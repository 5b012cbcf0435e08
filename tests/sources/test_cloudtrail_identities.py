"""Principals of CloudTrail sessions: person, key or service, by identity or issuance."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cloudtrail_records import (
    ANA,
    EC2,
    ROLE,
    USER,
    Convert,
    assumed,
    converted,
    kinds,
    record,
    temporary,
)

__all__ = ["converted"]  # a fixture

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

    (issued,) = (event for event in events if event["session_id"] == "ASIANEW")
    assert (issued["principal_kind"], issued["principal_id"]) == (kind, principal)


def test_a_role_assumed_in_the_console_has_the_kind_of_its_parent(converted: Convert) -> None:
    taken = record("sts:AssumeRole", 1, by=temporary("ASIA1", mfa="true"), **assumed("ana"))

    assert kinds(converted(taken)) == {f"{ANA}@2024-06-01T12:00:00Z": "human", "ASIANEW": "human"}


def test_sessions_that_claim_to_be_each_others_parent_still_have_a_kind(converted: Convert) -> None:
    roles = {key: temporary(key, "AssumedRole", f"arn:aws:sts::1:assumed-role/deploy/{key}") for key in ("A", "B")}
    conversion = converted(
        record("sts:AssumeRole", 1, by=roles["A"], **assumed("B", "B")),
        record("sts:AssumeRole", 2, by=roles["B"], **assumed("A", "A")),
    )

    assert kinds(conversion) == {"A": "api_key", "B": "api_key"}
