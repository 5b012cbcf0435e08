"""Tables of what operations do to trust, one table per class; names are route templates or ``service:Action``.

The first three stages are the chain that an intruder follows: create a credential, widen a right, blind the audit
(ATT&CK T1098.001, T1098.003, T1685.002). A class holds what the documentation of an interface states that an
action does (AWS: its Service Authorization Reference), not what one recording happened to use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from models.events.routes import Step, step_of


class Stage(IntEnum):
    """What a call does to trust; 0 is every other operation, 1 to 3 are the privilege chain.

    EXPOSE is a grant to an outsider, so it counts as a grant too. SECRET asks for one secret, SECRET_LIST for several.
    These two and BLIND count for denied calls as well: an attempt is as informative as a success.
    """

    NONE = 0
    CREATE = 1
    GRANT = 2
    BLIND = 3
    EXPOSE = 4
    SECRET = 5
    SECRET_LIST = 6


_STAGES: Final[dict[Stage, tuple[str, ...]]] = {
    Stage.CREATE: (
        "iam:CreateAccessKey",
        "iam:CreateLoginProfile",
        "iam:UpdateLoginProfile",
        "iam:CreateUser",
        "iam:CreateServiceSpecificCredential",
        "iam:ResetServiceSpecificCredential",
        "iam:UploadSSHPublicKey",
        "iam:UploadSigningCertificate",
        "iam:CreateSAMLProvider",
        "iam:UpdateSAMLProvider",
        "iam:CreateOpenIDConnectProvider",
        "identitystore:CreateUser",
        "sso-directory:CreateUser",
        "sts:GetFederationToken",
        "rolesanywhere:CreateTrustAnchor",
        "rolesanywhere:UpdateTrustAnchor",
        "ec2-instance-connect:SendSSHPublicKey",
        "ec2-instance-connect:SendSerialConsoleSSHPublicKey",
    ),
    Stage.GRANT: (
        "iam:AttachUserPolicy",
        "iam:AttachRolePolicy",
        "iam:AttachGroupPolicy",
        "iam:PutUserPolicy",
        "iam:PutRolePolicy",
        "iam:PutGroupPolicy",
        "iam:AddUserToGroup",
        "iam:UpdateAssumeRolePolicy",
        "iam:CreatePolicyVersion",
        "iam:SetDefaultPolicyVersion",
        "iam:DeleteUserPermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary",
        "identitystore:CreateGroupMembership",
        "sso-directory:AddMemberToGroup",
        "sso:CreateAccountAssignment",
        "sso:AttachManagedPolicyToPermissionSet",
        "sso:PutInlinePolicyToPermissionSet",
        "eks:CreateAccessEntry",
        "eks:AssociateAccessPolicy",
        "ec2:EnableSerialConsoleAccess",
        "rolesanywhere:CreateProfile",
    ),
    Stage.BLIND: (
        "cloudtrail:StopLogging",
        "cloudtrail:DeleteTrail",
        "cloudtrail:UpdateTrail",
        "cloudtrail:PutEventSelectors",
        "cloudtrail:DeleteEventDataStore",
        "cloudtrail:StopEventDataStoreIngestion",
        "ec2:DeleteFlowLogs",
        "logs:DeleteLogGroup",
        "logs:DeleteLogStream",
        "route53resolver:DeleteResolverQueryLogConfig",
        "route53resolver:DisassociateResolverQueryLogConfig",
        "wafv2:DeleteLoggingConfiguration",
        "config:StopConfigurationRecorder",
        "config:DeleteConfigurationRecorder",
        "config:DeleteDeliveryChannel",
        "guardduty:DeleteDetector",
        "guardduty:UpdateDetector",
        "guardduty:DeleteMembers",
        "guardduty:StopMonitoringMembers",
        "guardduty:DisassociateMembers",
        "guardduty:DisassociateFromAdministratorAccount",
        "guardduty:DisassociateFromMasterAccount",
        "guardduty:DeletePublishingDestination",
        "securityhub:DisableSecurityHub",
        "macie2:DisableMacie",
        "detective:DeleteGraph",
        "inspector2:Disable",
        "access-analyzer:DeleteAnalyzer",
        "organizations:LeaveOrganization",
        "organizations:RemoveAccountFromOrganization",
    ),
}
PRIVILEGE: Final[dict[str, Stage]] = {name: stage for stage, names in _STAGES.items() for name in names}
"""Operations with a stage of the chain, by their whole name."""
_STEPS: Final[dict[Step | None, Stage]] = {
    None: Stage.NONE,
    "create": Stage.CREATE,
    "grant": Stage.GRANT,
    "blind": Stage.BLIND,
}

SHARES: Final = frozenset(
    {
        "iam:CreateRole",
        "iam:UpdateAssumeRolePolicy",
        "ec2:ModifySnapshotAttribute",
        "ec2:ModifyImageAttribute",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySecurityGroupRules",
        "rds:ModifyDBSnapshotAttribute",
        "rds:ModifyDBClusterSnapshotAttribute",
        "redshift:AuthorizeSnapshotAccess",
        "ssm:ModifyDocumentPermission",
        "s3:PutBucketPolicy",
        "s3:PutBucketAcl",
        "s3:PutAccessPointPolicy",
        "kms:PutKeyPolicy",
        "kms:CreateGrant",
        "lambda:AddPermission",
        "lambda:AddLayerVersionPermission",
        "lambda:CreateFunctionUrlConfig",
        "sns:AddPermission",
        "sns:SetTopicAttributes",
        "sqs:AddPermission",
        "sqs:SetQueueAttributes",
        "ecr:SetRepositoryPolicy",
        "secretsmanager:PutResourcePolicy",
        "dynamodb:PutResourcePolicy",
        "elasticfilesystem:PutFileSystemPolicy",
        "backup:PutBackupVaultAccessPolicy",
        "glacier:SetVaultAccessPolicy",
        "events:PutPermission",
        "ram:CreateResourceShare",
        "ram:AssociateResourceShare",
        "POST /shares",
        "PUT /buckets/{id}/policy",
        "POST /files/{id}/permissions",
    }
)
"""Operations that may give outsiders access: they do if the call is labelled as on ``restricted`` data."""

SECRETS: Final[dict[str, Stage]] = {
    "secretsmanager:GetSecretValue": Stage.SECRET,
    "secretsmanager:BatchGetSecretValue": Stage.SECRET_LIST,
    "ssm:GetParameter": Stage.SECRET,
    "ssm:GetParameterHistory": Stage.SECRET,
    "ssm:GetParameters": Stage.SECRET_LIST,
    "ssm:GetParametersByPath": Stage.SECRET_LIST,
    "ec2:GetPasswordData": Stage.SECRET,
    "ec2:DescribeInstanceAttribute": Stage.SECRET,
    "lightsail:DownloadDefaultKeyPair": Stage.SECRET,
    "lightsail:GetRelationalDatabaseMasterUserPassword": Stage.SECRET,
    "GET /secrets/{id}": Stage.SECRET,
    "GET /credentials/{id}": Stage.SECRET,
}
"""Operations that return secrets, if the call is labelled as on sensitive data (T1555.006, T1552)."""

COMMANDS: Final = frozenset(
    {
        "ssm:SendCommand",
        "ssm:StartSession",
        "ssm:ResumeSession",
        "ssm:StartAutomationExecution",
        "ssm:CreateAssociation",
        "ecs:ExecuteCommand",
        "lambda:UpdateFunctionCode",
        "lambda:PublishLayerVersion",
        "glue:CreateDevEndpoint",
        "sagemaker:CreatePresignedNotebookInstanceUrl",
        "POST /hosts/{id}/commands",
        "POST /hosts/{id}/sessions",
    }
)
"""Operations that run code of the caller on a machine that serves others (T1651, T1648, T1021.007)."""

_SENSITIVE: Final = ("confidential", "restricted")
_POWERFUL: Final = re.compile(
    r"(^|[.:/_-])(admin|owner|root|superuser|\*)([.:/_-]|$)|\.(ReadWrite|FullControl)\.All$", re.IGNORECASE
)


def is_powerful(scopes: Iterable[str]) -> bool:
    """Return whether one of *scopes* (RFC 6749 §3.3) gives power over others, judged by its name.

    >>> is_powerful(["openid", "admin:org"]), is_powerful(["mail.read"])
    (True, False)
    """
    return any(_POWERFUL.search(scope) for scope in scopes)


def chain_stage(operation: str) -> Stage:
    """Return the stage of the privilege chain: by the whole name, else by the words of the route.

    >>> chain_stage("iam:CreateUser"), chain_stage("PUT /users/{id}/groups")
    (<Stage.CREATE: 1>, <Stage.GRANT: 2>)
    """
    named = PRIVILEGE.get(operation)
    return _STEPS[step_of(operation)] if named is None else named


def stage_of(operation: str, sensitivity: str | None) -> Stage:
    """Return what a call of *operation* does to trust if it succeeds.

    >>> stage_of("s3:PutBucketPolicy", "internal"), stage_of("s3:PutBucketPolicy", "restricted")
    (<Stage.NONE: 0>, <Stage.EXPOSE: 4>)
    """
    if operation in SHARES and sensitivity == "restricted":
        return Stage.EXPOSE
    if operation in SECRETS and sensitivity in _SENSITIVE:
        return SECRETS[operation]
    return chain_stage(operation)


def stages_of(operation: str) -> set[Stage]:
    """Return what calls of *operation* may do to trust on any data: for a history that has names only."""
    shares = {Stage.EXPOSE} if operation in SHARES else set()
    return (shares | {chain_stage(operation)}) - {Stage.NONE}


def is_guarded(operation: str, sensitivity: str | None) -> bool:
    """Return whether use of *operation* is worth storing: restricted data, trust itself, or machines of others."""
    return sensitivity == "restricted" or operation in COMMANDS or chain_stage(operation) is not Stage.NONE
