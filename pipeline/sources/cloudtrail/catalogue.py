"""Tables that translate AWS operations and error codes into the vocabulary of events. Reads no log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.events.operations import SHARES
from pipeline.sources.cloudtrail.external_access import opens_outside
from pipeline.sources.cloudtrail.record import digest

SENSITIVITY: Final[dict[str, str]] = {
    "secretsmanager:GetSecretValue": "restricted",
    "secretsmanager:BatchGetSecretValue": "restricted",
    "ec2:GetPasswordData": "restricted",
    "lightsail:DownloadDefaultKeyPair": "restricted",
    "lightsail:GetRelationalDatabaseMasterUserPassword": "restricted",
    "s3:GetObject": "confidential",
    "s3:SelectObjectContent": "confidential",
    "dynamodb:GetItem": "confidential",
    "dynamodb:BatchGetItem": "confidential",
    "dynamodb:Query": "confidential",
    "dynamodb:Scan": "confidential",
    "kms:Decrypt": "confidential",
    "ec2:ModifyImageAttribute": "confidential",
    "ec2:ModifySnapshotAttribute": "confidential",
    "rds:ModifyDBSnapshotAttribute": "confidential",
    "rds:ModifyDBClusterSnapshotAttribute": "confidential",
    "rds:StartExportTask": "confidential",
    "iam:GetAccountAuthorizationDetails": "confidential",
    "iam:GetCredentialReport": "confidential",
}
"""Sensitivity of operations that return data or share it; every other call is `internal`."""

SENSITIVE_WHEN: Final[dict[str, tuple[str, Any, str]]] = {
    "ssm:GetParameter": ("withDecryption", True, "restricted"),
    "ssm:GetParameters": ("withDecryption", True, "restricted"),
    "ssm:GetParametersByPath": ("withDecryption", True, "restricted"),
    "ssm:GetParameterHistory": ("withDecryption", True, "restricted"),
    "ec2:DescribeInstanceAttribute": ("attribute", "userData", "confidential"),
}
"""Operations whose sensitivity depends on one request parameter: its name, its value, the sensitivity then."""

READS_ONE: Final = frozenset(
    {
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
        "ec2:GetPasswordData",
        "s3:GetObject",
        "dynamodb:GetItem",
    }
)
READS_NAMED: Final[dict[str, str]] = {
    "ssm:GetParameters": "names",
    "secretsmanager:BatchGetSecretValue": "secretIdList",
}
"""Operations that read what a list in the request names. CloudTrail stores no responses of reads, so the results of
other lists (S3 keys, secrets by filter) are not counted: a requested maximum is not a count."""

CREDENTIALS: Final[dict[str, str]] = {
    "iam:CreateAccessKey": "credential_added",
    "iam:UpdateAccessKey": "credential_changed",
    "iam:DeleteAccessKey": "credential_removed",
    "iam:CreateLoginProfile": "credential_added",
    "iam:UpdateLoginProfile": "credential_changed",
    "iam:DeleteLoginProfile": "credential_removed",
    "iam:ChangePassword": "credential_changed",
    "iam:EnableMFADevice": "credential_added",
    "iam:ResyncMFADevice": "credential_changed",
    "iam:DeactivateMFADevice": "credential_removed",
    "iam:CreateVirtualMFADevice": "credential_added",
    "iam:DeleteVirtualMFADevice": "credential_removed",
    "iam:UploadSSHPublicKey": "credential_added",
    "iam:UpdateSSHPublicKey": "credential_changed",
    "iam:DeleteSSHPublicKey": "credential_removed",
    "iam:UploadSigningCertificate": "credential_added",
    "iam:UpdateSigningCertificate": "credential_changed",
    "iam:DeleteSigningCertificate": "credential_removed",
    "iam:CreateServiceSpecificCredential": "credential_added",
    "iam:ResetServiceSpecificCredential": "credential_changed",
    "iam:UpdateServiceSpecificCredential": "credential_changed",
    "iam:DeleteServiceSpecificCredential": "credential_removed",
    "rolesanywhere:CreateTrustAnchor": "credential_added",
    "rolesanywhere:DeleteTrustAnchor": "credential_removed",
}
"""Operations that change a credential of the account: the action of the `auth.event` beside the `api.call`."""


@dataclass(frozen=True, slots=True)
class KeyPath:
    """Where the response of an operation names the new access key and the ARN of its holder.

    *same_client*: the caller itself continues with the new key, so its network and software are the new session's.
    """

    key: tuple[str, str]
    holder: tuple[str, str] | None
    same_client: bool = True


ISSUES_KEY: Final[dict[str, KeyPath]] = {
    "sts:AssumeRole": KeyPath(("credentials", "accessKeyId"), ("assumedRoleUser", "arn")),
    "sts:AssumeRoleWithSAML": KeyPath(("credentials", "accessKeyId"), ("assumedRoleUser", "arn")),
    "sts:AssumeRoleWithWebIdentity": KeyPath(("credentials", "accessKeyId"), ("assumedRoleUser", "arn")),
    "sts:AssumeRoot": KeyPath(("credentials", "accessKeyId"), None),
    "sts:GetFederationToken": KeyPath(("credentials", "accessKeyId"), ("federatedUser", "arn")),
    "sts:GetSessionToken": KeyPath(("credentials", "accessKeyId"), None),
    "iam:CreateAccessKey": KeyPath(("accessKey", "accessKeyId"), None, same_client=False),
}

SIGN_IN: Final[dict[str, str]] = {
    "signin:ConsoleLogin": "sign_in",
    "signin:CheckMfa": "mfa_challenged",
    "signin:PasswordRecoveryRequested": "recovery_started",
}
"""Operations at the sign-in page, where there is no access key yet, and their actions."""

STATUS_WORDS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (429, ("Throttl", "RequestLimitExceeded", "TooManyRequests", "SlowDown")),
    (403, ("AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden", "AuthFailure", "ExpiredToken")),
    (403, ("InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClient", "SignatureDoesNotMatch")),
    (404, ("NotFound", "NoSuch", "NotExist")),
    (503, ("ServiceUnavailable",)),
    (500, ("Server.", "InternalFailure", "InternalError", "InternalServer", "InternalService")),
)
"""HTTP status by words in an error code; the first matching row counts. Other codes are client errors: 400."""

RESOURCE_NAMES: Final = (
    "roleArn",
    "secretId",
    "keyId",
    "functionName",
    "bucketName",
    "trailName",
    "roleName",
    "userName",
    "groupName",
    "policyArn",
    "instanceId",
    "imageId",
    "snapshotId",
    "dBSnapshotIdentifier",
    "dBInstanceIdentifier",
    "groupId",
    "vpcId",
    "target",
    "name",
)
"""Request parameters that name the resource of a call, the most specific first."""


def status(error_code: str | None) -> int:
    """Return the HTTP status equivalent to an AWS error code; no error is 200."""
    if error_code is None:
        return 200
    rows = (row for row, words in STATUS_WORDS if any(word in error_code for word in words))
    return next(rows, 400)


def sensitivity(operation: str, request: Mapping[str, Any], account: str) -> str:
    """Return how sensitive the data is that *operation* returns or shares; *account* owns the resource.

    Whatever is shared externally is restricted, as it cannot be taken back.
    """
    if operation in SHARES and opens_outside(operation, request, account):
        return "restricted"
    if operation in SENSITIVE_WHEN:
        parameter, value, then = SENSITIVE_WHEN[operation]
        return then if request.get(parameter) == value else "internal"
    return SENSITIVITY.get(operation, "internal")


def records(operation: str, request: Mapping[str, Any]) -> int | None:
    """Return how many records a successful *operation* read, None if the log does not say."""
    if operation in READS_ONE:
        return 1
    named = request.get(READS_NAMED.get(operation, ""))
    return len(named) if isinstance(named, list) else None


def resource(arn: str | None, request: Mapping[str, Any]) -> str | None:
    """Return a hash of the main resource of a call: its *arn* if the log has it, else the name in *request*.

    A list of names counts as one resource; a different list is a different resource.
    """
    named = [request.get(parameter) for parameter in RESOURCE_NAMES]
    listed = (request.get(parameter) for parameter in dict.fromkeys(READS_NAMED.values()))
    named += ["\n".join(sorted(map(str, names))) for names in listed if isinstance(names, list)]
    main = arn or next((value for value in named if isinstance(value, str) and value), None)
    return digest(main) if main else None
