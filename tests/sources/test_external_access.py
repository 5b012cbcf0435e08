"""External access: other accounts and everybody are external, the own account and services are not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from models.events.operations import COMMANDS, PRIVILEGE, SECRETS, SHARES, Stage, is_guarded, stage_of
from pipeline.sources.cloudtrail.catalogue import SENSITIVE_WHEN, SENSITIVITY, sensitivity
from pipeline.sources.cloudtrail.external_access import opens_outside

OWN, OTHER = "111122223333", "444455556666"


def policy(principal: Any, effect: str = "Allow", **more: Any) -> str:
    return json.dumps({"Statement": [{"Effect": effect, "Principal": principal, "Action": "*", **more}]})


def added(**grantee: str) -> dict[str, Any]:
    return {"launchPermission": {"add": {"items": [grantee]}}}


def rule(first: int, last: int, address: str = "0.0.0.0/0") -> dict[str, Any]:
    ranges = {"ipRanges": {"items": [{"cidrIp": address}]}}
    return {"ipPermissions": {"items": [{"ipProtocol": "tcp", "fromPort": first, "toPort": last, **ranges}]}}


OPEN = [
    ("iam:UpdateAssumeRolePolicy", {"policyDocument": policy({"AWS": f"arn:aws:iam::{OTHER}:root"})}),
    ("iam:CreateRole", {"assumeRolePolicyDocument": policy({"AWS": [OWN, OTHER]}, Condition={"Bool": {}})}),
    ("iam:CreateRole", {"assumeRolePolicyDocument": policy({"AWS": f"arn:aws-us-gov:iam::{OTHER}:role/x"})}),
    ("s3:PutBucketPolicy", {"bucketPolicy": json.loads(policy("*"))}),
    ("s3:PutBucketAcl", {"x-amz-acl": ["public-read"]}),
    (
        "s3:PutBucketAcl",
        {"AccessControlPolicy": {"Grantee": {"URI": "http://acs.amazonaws.com/groups/global/AllUsers"}}},
    ),
    ("kms:PutKeyPolicy", {"policy": policy({"AWS": "*"})}),
    ("kms:CreateGrant", {"granteePrincipal": f"arn:aws:iam::{OTHER}:user/eve"}),
    ("ec2:ModifyImageAttribute", added(userId=OTHER)),
    ("ec2:ModifyImageAttribute", added(group="all")),
    ("rds:ModifyDBSnapshotAttribute", {"valuesToAdd": [OTHER]}),
    ("rds:ModifyDBSnapshotAttribute", {"valuesToAdd": ["all"]}),
    ("ssm:ModifyDocumentPermission", {"accountIdsToAdd": [OTHER]}),
    ("redshift:AuthorizeSnapshotAccess", {"accountWithRestoreAccess": OTHER}),
    ("lambda:AddPermission", {"principal": "*"}),
    ("lambda:CreateFunctionUrlConfig", {"authType": "NONE"}),
    ("sqs:AddPermission", {"aWSAccountIds": [OTHER]}),
    ("ram:CreateResourceShare", {"principals": [OTHER]}),
    ("ec2:AuthorizeSecurityGroupIngress", rule(22, 22)),
    ("ec2:AuthorizeSecurityGroupIngress", rule(0, 65535, "::/0")),
    ("ec2:AuthorizeSecurityGroupIngress", {"cidrIp": "0.0.0.0/0", "ipProtocol": "-1"}),
    (
        "ec2:ModifySecurityGroupRules",
        {"Rule": {"CidrIpv4": "0.0.0.0/0", "FromPort": 3389, "ToPort": 3389, "IpProtocol": "tcp"}},
    ),
]
CLOSED = [
    ("iam:UpdateAssumeRolePolicy", {"policyDocument": policy({"AWS": f"arn:aws:iam::{OWN}:root"})}),
    ("iam:UpdateAssumeRolePolicy", {"policyDocument": policy({"Service": "ec2.amazonaws.com"})}),
    ("iam:UpdateAssumeRolePolicy", {"policyDocument": "{ no JSON"}),
    ("s3:PutBucketPolicy", {"bucketPolicy": json.loads(policy("*", effect="Deny"))}),
    ("s3:PutBucketPolicy", {"bucketPolicy": json.loads(policy("*", Condition={"StringEquals": {}}))}),
    ("s3:PutBucketPolicy", {"bucketPolicy": json.loads(policy("*", Condition={"a": {"b": "c"}}))}),
    ("s3:PutBucketAcl", {"x-amz-acl": ["private"]}),
    ("ec2:ModifyImageAttribute", added(userId=OWN)),
    ("ec2:ModifyImageAttribute", {"launchPermission": {"remove": {"items": [{"userId": OTHER}]}}}),
    ("rds:ModifyDBSnapshotAttribute", {"valuesToRemove": [OTHER]}),
    ("lambda:AddPermission", {"principal": "s3.amazonaws.com", "sourceAccount": OTHER}),
    ("lambda:AddPermission", {"principal": "*", "principalOrgID": "o-1"}),
    ("lambda:CreateFunctionUrlConfig", {"authType": "AWS_IAM"}),
    ("ram:CreateResourceShare", {"principals": [f"arn:aws:organizations::{OTHER}:organization/o-1"]}),
    ("ec2:AuthorizeSecurityGroupIngress", rule(443, 443)),
    ("ec2:AuthorizeSecurityGroupIngress", rule(22, 22, "198.51.100.0/24")),
    ("ec2:AuthorizeSecurityGroupIngress", rule(-1, -1)),
]


@pytest.mark.parametrize(("operation", "request_"), OPEN)
def test_what_lets_others_in_is_restricted_and_exposes(operation: str, request_: dict[str, Any]) -> None:
    text = sensitivity(operation, request_, OWN)

    assert opens_outside(operation, request_, OWN)
    assert text == "restricted"
    assert stage_of(operation, text) is Stage.EXPOSE


@pytest.mark.parametrize(("operation", "request_"), CLOSED)
def test_what_stays_within_the_account_exposes_nothing(operation: str, request_: dict[str, Any]) -> None:
    text = sensitivity(operation, request_, OWN)

    assert not opens_outside(operation, request_, OWN)
    assert stage_of(operation, text) is not Stage.EXPOSE


def test_a_request_as_deep_as_a_well_is_given_up() -> None:
    deep: dict[str, Any] = {"userId": OTHER}
    for _ in range(100):
        deep = {"items": [deep]}

    assert not opens_outside("ec2:ModifyImageAttribute", deep, OWN)


@pytest.mark.parametrize(
    ("operation", "request_word", "stage", "guarded"),
    [
        ("secretsmanager:GetSecretValue", "restricted", Stage.SECRET, True),
        ("ssm:GetParameters", "restricted", Stage.SECRET_LIST, True),
        ("ssm:GetParameter", "internal", Stage.NONE, False),
        ("ssm:SendCommand", "internal", Stage.NONE, True),
        ("iam:UpdateAssumeRolePolicy", "internal", Stage.GRANT, True),
        ("iam:UpdateAssumeRolePolicy", "restricted", Stage.EXPOSE, True),
        ("ec2:ModifyImageAttribute", "confidential", Stage.NONE, False),
        ("GET /orders", "restricted", Stage.NONE, True),
        ("GET /orders", None, Stage.NONE, False),
    ],
)
def test_what_a_call_does_to_trust(operation: str, request_word: str | None, stage: Stage, *, guarded: bool) -> None:
    assert (stage_of(operation, request_word), is_guarded(operation, request_word)) == (stage, guarded)


def test_the_classes_are_names_of_operations_and_only_a_grant_may_also_share() -> None:
    names = [*PRIVILEGE, *SHARES, *SECRETS, *COMMANDS]
    well_formed = re.compile(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+|(GET|POST|PUT|DELETE) (/([a-z-]+|\{id\}))+")
    in_two = (PRIVILEGE.keys() & SHARES) | (PRIVILEGE.keys() & COMMANDS) | (SECRETS.keys() & SHARES)

    assert [name for name in names if not well_formed.fullmatch(name)] == []
    assert {PRIVILEGE[name] for name in in_two} == {Stage.GRANT}


def test_every_secret_of_aws_that_is_given_out_is_converted_as_sensitive() -> None:
    of_aws = {name for name in SECRETS if ":" in name}

    assert sorted(of_aws - SENSITIVITY.keys() - SENSITIVE_WHEN.keys()) == []
