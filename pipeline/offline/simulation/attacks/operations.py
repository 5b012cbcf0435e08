"""Operations that intruders call and the people they impersonate do not: one row each. Tables only.

The two worlds get alternate rows of each table (`world.world`).
"""

from __future__ import annotations

from typing import Final

from pipeline.offline.simulation.world.operations import Operation
from pipeline.offline.simulation.world.work import tool

EXPORTS: Final = (
    Operation("GET /customers", 1, "confidential", (300, 900), 900),
    Operation("GET /accounts/export", 1, "confidential", (350, 900), 1100),
    Operation("POST /reports/customers/download", 1, "restricted", (300, 800), 700),
    Operation("GET /contacts/pages/{id}", 1, "confidential", (400, 900), 800),
)
"""Customer data in bulk."""

SINGLE: Final = (
    Operation("GET /customers/{id}/documents", 1, "confidential", (4, 18), 80),
    Operation("GET /people/{id}/payslips", 1, "restricted", (4, 14), 60),
    Operation("GET /accounts/{id}/statements", 1, "confidential", (5, 20), 90),
    Operation("GET /contracts/{id}", 1, "restricted", (3, 16), 70),
)
"""The same, a little at a time."""

CHAINS: Final = (
    (
        Operation("POST /keys", 1, "restricted"),
        Operation("POST /roles/{id}/grants", 1, "restricted"),
        Operation("DELETE /audit-logs", 1, "restricted"),
    ),
    (
        Operation("iam:CreateAccessKey", 1, "restricted"),
        Operation("iam:AttachUserPolicy", 1, "restricted"),
        Operation("cloudtrail:StopLogging", 1, "restricted"),
    ),
    (
        Operation("iam:CreateLoginProfile", 1, "restricted"),
        Operation("iam:AddUserToGroup", 1, "restricted"),
        Operation("guardduty:DeleteDetector", 1, "restricted"),
    ),
    (
        Operation("POST /service-accounts", 1, "restricted"),
        Operation("PUT /users/{id}/roles", 1, "restricted"),
        Operation("PUT /audit-settings", 1, "restricted"),
    ),
)
"""Create a credential, widen its rights, disable auditing: by operations of applications and of a cloud."""

SENSITIVE: Final = (
    Operation("GET /vault/secrets/{id}", 1, "restricted", (1, 1), 1),
    Operation("GET /payroll/{id}", 1, "restricted", (1, 12), 6),
    Operation("POST /mail-rules", 1, "restricted", (1, 1), 1),
    Operation("GET /signing-keys/{id}", 1, "restricted", (1, 1), 2),
    Operation("secretsmanager:GetSecretValue", 1, "restricted", (1, 1), 1),
    Operation("POST /oauth-consents", 1, "restricted", (1, 1), 1),
)
"""Sensitive operations that are rare."""

_NOUNS: Final = (
    "admin",
    "internal/metrics",
    "users/{id}/tokens",
    "v2/config",
    "tenants",
    "backups",
    "exports/{id}",
    "debug/vars",
    "billing/plans",
    "feature-flags",
    "graphql/schema",
    "payroll",
    "hr/people",
    "vault",
    "keys/{id}",
    "audit-settings",
    "webhooks/{id}/secrets",
    "roles/{id}/members",
    "legal/holds",
    "sso/connections",
    "devices/{id}/keys",
    "queues",
    "crons",
    "snapshots/{id}",
)
PROBES: Final = tuple(
    Operation(f"GET /{noun}", 1, "restricted" if index % 3 == 0 else "internal", (0, 4))
    for index, noun in enumerate(_NOUNS)
)
"""Resources that are probed."""

FOREIGN_TOOLS: Final = (
    tool("export_contacts", 1, "confidential", (20, 80)),
    tool("list_api_keys", 1, "restricted", (1, 10)),
    tool("read_secret", 1, "restricted", (1, 1)),
    tool("share_folder", 1, "confidential", (1, 5)),
    tool("run_code", 1, "internal", (0, 1)),
    tool("forward_mail", 1, "confidential", (1, 10)),
    tool("create_mail_rule", 1, "restricted", (1, 1)),
    tool("open_tunnel", 1, "restricted", (0, 1)),
    tool("send_file", 1, "confidential", (1, 4)),
    tool("invite_guest", 1, "restricted", (1, 1)),
    tool("query_database", 1, "restricted", (5, 60)),
    tool("delegate_agent", 1, "restricted", (0, 1)),
)
"""Tools that a manipulated agent starts to call."""
