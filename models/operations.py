"""What an operation is able to do to trust itself: make a credential, widen a right, blind the audit.

One row per known operation name (a route template or ``service:Action``); the order of the three stages is
the chain an intruder walks (ATT&CK T1098.001, T1098.003, T1562.008).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final


class Stage(IntEnum):
    """A step of the privilege chain; 0 is every other operation."""

    NONE = 0
    CREATE = 1
    GRANT = 2
    BLIND = 3


PRIVILEGE: Final[dict[str, Stage]] = {
    "iam:CreateAccessKey": Stage.CREATE,
    "iam:CreateLoginProfile": Stage.CREATE,
    "iam:UpdateLoginProfile": Stage.CREATE,
    "iam:CreateUser": Stage.CREATE,
    "iam:CreateServiceSpecificCredential": Stage.CREATE,
    "sts:GetFederationToken": Stage.CREATE,
    "rolesanywhere:CreateTrustAnchor": Stage.CREATE,
    "POST /keys": Stage.CREATE,
    "POST /users/{id}/credentials": Stage.CREATE,
    "POST /service-accounts": Stage.CREATE,
    "iam:AttachUserPolicy": Stage.GRANT,
    "iam:AttachRolePolicy": Stage.GRANT,
    "iam:AttachGroupPolicy": Stage.GRANT,
    "iam:PutUserPolicy": Stage.GRANT,
    "iam:PutRolePolicy": Stage.GRANT,
    "iam:AddUserToGroup": Stage.GRANT,
    "iam:UpdateAssumeRolePolicy": Stage.GRANT,
    "iam:CreatePolicyVersion": Stage.GRANT,
    "rolesanywhere:CreateProfile": Stage.GRANT,
    "POST /roles/{id}/grants": Stage.GRANT,
    "PUT /users/{id}/roles": Stage.GRANT,
    "cloudtrail:StopLogging": Stage.BLIND,
    "cloudtrail:DeleteTrail": Stage.BLIND,
    "cloudtrail:UpdateTrail": Stage.BLIND,
    "cloudtrail:PutEventSelectors": Stage.BLIND,
    "ec2:DeleteFlowLogs": Stage.BLIND,
    "logs:DeleteLogGroup": Stage.BLIND,
    "guardduty:DeleteDetector": Stage.BLIND,
    "route53resolver:DeleteResolverQueryLogConfig": Stage.BLIND,
    "DELETE /audit-logs": Stage.BLIND,
    "PUT /audit-settings": Stage.BLIND,
}
"""Every operation with a stage of the chain."""

_POWERFUL: Final = re.compile(
    r"(^|[.:/_-])(admin|owner|root|superuser|\*)([.:/_-]|$)|\.(ReadWrite|FullControl)\.All$", re.IGNORECASE
)


def is_powerful(scopes: Iterable[str]) -> bool:
    """Whether one of *scopes* (RFC 6749 §3.3) rules over others, judged by its name.

    >>> is_powerful(["openid", "admin:org"]), is_powerful(["mail.read"])
    (True, False)
    """
    return any(_POWERFUL.search(scope) for scope in scopes)


def is_guarded(operation: str, sensitivity: str | None) -> bool:
    """Whether using *operation* is worth remembering of a principal: restricted data, or trust itself."""
    return sensitivity == "restricted" or operation in PRIVILEGE
