"""Calls of CloudTrail: status, operation, records read, network and software."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from pipeline.sources.cloudtrail import catalogue
from pipeline.sources.cloudtrail.record import client_ip, client_software
from schemas.events import ApiCall, AuthEvent
from tests.support.cloudtrail_records import Convert, converted, record

__all__ = ["converted"]  # a fixture


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
def test_the_records_read_by_a_call_are_counted_if_the_log_has_them(
    converted: Convert, call: str, request_: Any, sensitivity: str, records: int | None
) -> None:
    (event,) = converted(record(call, requestParameters=request_)).events["api-calls"]
    (denied,) = converted(record(call, requestParameters=request_, errorCode="AccessDenied")).events["api-calls"]

    assert (event["sensitivity"], event.get("records")) == (sensitivity, records)
    assert (denied["sensitivity"], denied["records"]) == (sensitivity, 0)


def test_a_list_of_secrets_is_one_resource_and_another_list_another(converted: Convert) -> None:
    lists = (["a", "b"], ["b", "a"], ["a", "c"])
    records = [
        record("ssm:GetParameters", second, requestParameters={"names": names}) for second, names in enumerate(lists)
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
def test_an_operation_has_no_version_of_its_api(converted: Convert, logged: str, operation: str) -> None:
    (event,) = converted(record(logged)).events["api-calls"]

    assert event["operation"] == operation


@pytest.mark.parametrize(
    ("agent", "overrides", "ip"),
    [
        ("[S3Console/0.4, aws-internal/3]", {}, None),
        ("[S3Console/0.4, aws-internal/3]", {"sourceIPAddress": "203.0.113.7"}, "203.0.113.7"),
        ("AWS Internal", {"sessionCredentialFromConsole": "true"}, "10.1.2.3"),
        ("aws-cli/2", {}, "10.1.2.3"),
    ],
)
def test_an_address_of_a_host_of_aws_is_not_the_clients(
    converted: Convert, agent: str, overrides: dict[str, Any], ip: str | None
) -> None:
    item = record(userAgent=agent, **{"sourceIPAddress": "10.1.2.3", **overrides})

    (event,) = converted(item).events["api-calls"]

    assert event.get("ip") == ip


def test_the_tables_contain_operations_and_values_of_the_schema() -> None:
    operations = [*catalogue.CREDENTIALS, *catalogue.ISSUES_KEY, *catalogue.SIGN_IN, *catalogue.READS_ONE]
    operations += [*catalogue.SENSITIVITY, *catalogue.SENSITIVE_WHEN, *catalogue.READS_NAMED]
    assert [name for name in operations if not re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", name)] == []

    lines = {*catalogue.CREDENTIALS.values(), *catalogue.SIGN_IN.values()}
    assert lines <= set(get_args(AuthEvent.model_fields["action"].annotation))
    levels = {*catalogue.SENSITIVITY.values(), *(row[2] for row in catalogue.SENSITIVE_WHEN.values())}
    assert levels <= {"confidential", "restricted"} <= set(str(ApiCall.model_fields["sensitivity"]).split("'"))


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
