"""Operations of honest work: one row each, by role, job, use and tool. Tables only."""

from __future__ import annotations

from typing import Final

from pipeline.offline.simulation.world.operations import Operation


def tool(name: str, weight: float, sensitivity: str, records: tuple[int, int], *leads_to: str) -> Operation:
    """Return the operation of an agent's tool; *leads_to* names tools."""
    after = tuple(f"POST /tools/{other}" for other in leads_to)
    return Operation(f"POST /tools/{name}", weight, sensitivity, records, 3, name, after)


ROLES: Final[dict[str, tuple[Operation, ...]]] = {
    "analyst": (
        Operation("GET /cases", 8, "internal", (5, 25), 12, leads_to=("GET /cases/{id}",)),
        Operation(
            "GET /cases/{id}",
            14,
            "confidential",
            (1, 1),
            6,
            leads_to=("GET /customers/{id}", "GET /accounts/{id}/transactions", "POST /cases/{id}/notes"),
        ),
        Operation(
            "GET /customers/{id}",
            12,
            "confidential",
            (1, 1),
            4,
            leads_to=("GET /accounts/{id}/transactions",),
        ),
        Operation(
            "GET /accounts/{id}/transactions",
            10,
            "confidential",
            (5, 30),
            15,
            leads_to=("POST /cases/{id}/notes", "PATCH /cases/{id}"),
        ),
        Operation("POST /cases/{id}/notes", 5, "internal", (1, 1), 1),
        Operation("PATCH /cases/{id}", 3, "internal", (1, 1), 1),
        Operation("GET /reports/{id}", 2, "internal", (10, 60), 60),
        Operation("GET /search", 6, "internal", (0, 20), 8, leads_to=("GET /cases/{id}",)),
        Operation("POST /payments/{id}/approvals", 1, "restricted", (1, 1), 1),
    ),
    "support": (
        Operation("GET /tickets", 12, "internal", (10, 25), 10, leads_to=("GET /tickets/{id}",)),
        Operation(
            "GET /tickets/{id}",
            18,
            "internal",
            (1, 1),
            5,
            leads_to=("GET /customers/{id}", "GET /orders/{id}", "POST /tickets/{id}/replies"),
        ),
        Operation("POST /tickets/{id}/replies", 9, "internal", (1, 1), 1),
        Operation("GET /customers/{id}", 14, "confidential", (1, 1), 4, leads_to=("GET /orders/{id}",)),
        Operation("GET /orders/{id}", 9, "confidential", (1, 1), 3, leads_to=("POST /tickets/{id}/replies",)),
        Operation("POST /refunds", 1, "restricted", (1, 1), 1),
        Operation("GET /articles", 5, "public", (5, 20), 20),
    ),
    "developer": (
        Operation("GET /repos/{id}", 12, "internal", (1, 1), 6, leads_to=("GET /repos/{id}/pulls",)),
        Operation(
            "GET /repos/{id}/pulls",
            10,
            "internal",
            (5, 30),
            18,
            leads_to=("POST /repos/{id}/reviews", "GET /pipelines/{id}"),
        ),
        Operation("POST /repos/{id}/reviews", 4, "internal", (1, 1), 1),
        Operation("GET /pipelines/{id}", 14, "internal", (1, 5), 8, leads_to=("GET /logs",)),
        Operation("GET /logs", 10, "internal", (20, 80), 40),
        Operation("POST /deployments", 1, "confidential", (1, 1), 1),
        Operation("GET /secrets/{id}", 0.4, "restricted", (1, 1), 1),
        Operation("s3:GetObject", 6, "internal", (1, 1), 80),
        Operation("s3:ListObjectsV2", 3, "internal", (10, 60), 12, leads_to=("s3:GetObject",)),
    ),
    "finance": (
        Operation("GET /invoices", 12, "confidential", (10, 30), 14, leads_to=("GET /invoices/{id}",)),
        Operation(
            "GET /invoices/{id}",
            16,
            "confidential",
            (1, 1),
            5,
            leads_to=("GET /suppliers/{id}", "GET /ledgers/{id}"),
        ),
        Operation(
            "GET /payments",
            8,
            "confidential",
            (10, 30),
            12,
            leads_to=("POST /payments/{id}/approvals", "GET /invoices/{id}"),
        ),
        Operation("POST /payments", 2, "restricted", (1, 1), 1),
        Operation("POST /payments/{id}/approvals", 2, "restricted", (1, 1), 1),
        Operation("GET /ledgers/{id}", 6, "confidential", (5, 25), 20),
        Operation("GET /suppliers/{id}", 7, "internal", (1, 1), 3),
    ),
    "admin": (
        Operation("GET /users", 12, "internal", (10, 50), 16, leads_to=("GET /users/{id}",)),
        Operation(
            "GET /users/{id}",
            14,
            "confidential",
            (1, 1),
            3,
            leads_to=("PATCH /users/{id}", "GET /audit-logs"),
        ),
        Operation("PATCH /users/{id}", 4, "confidential", (1, 1), 1),
        Operation("GET /roles", 6, "internal", (5, 20), 6),
        Operation("POST /roles/{id}/grants", 0.3, "restricted", (1, 1), 1),
        Operation("GET /audit-logs", 8, "confidential", (20, 50), 40),
        Operation("GET /devices", 9, "internal", (10, 50), 18, leads_to=("GET /users/{id}",)),
        Operation("POST /devices/{id}/wipe", 0.1, "restricted", (1, 1), 1),
    ),
}
"""Operations of people, by role."""

ON_THE_PHONE: Final = (
    Operation("GET /inbox", 12, "internal", (5, 20), 10, leads_to=("GET /messages/{id}",)),
    Operation("GET /messages/{id}", 14, "internal", (1, 1), 4, leads_to=("POST /messages",)),
    Operation("GET /calendar", 6, "internal", (3, 12), 4),
    Operation("GET /approvals", 5, "confidential", (1, 6), 3, leads_to=("GET /customers/{id}",)),
    Operation("GET /customers/{id}", 3, "confidential", (1, 1), 4),
    Operation("POST /messages", 3, "internal", (1, 1), 1),
    Operation("POST /payments/{id}/approvals", 0.5, "restricted", (1, 1), 1),
)
"""Operations of everybody's phone."""

JOBS: Final[dict[str, tuple[Operation, ...]]] = {
    "billing-sync": (
        Operation("GET /orders", 6, "confidential", (20, 100), 60, leads_to=("POST /invoices",)),
        Operation("POST /invoices", 3, "confidential", (1, 10), 2),
        Operation("GET /customers/{id}", 4, "confidential", (1, 1), 4),
    ),
    "search-indexer": (
        Operation("GET /changes", 8, "internal", (10, 200), 120, leads_to=("POST /index/documents",)),
        Operation("POST /index/documents", 8, "internal", (10, 200), 1),
    ),
    "webhook-relay": (
        Operation("GET /events", 10, "internal", (0, 20), 12, leads_to=("POST /webhooks/{id}/deliveries",)),
        Operation("POST /webhooks/{id}/deliveries", 6, "internal", (1, 1), 1),
    ),
    "backup": (
        Operation("s3:PutObject", 6, "confidential", (1, 1), 1),
        Operation("GET /exports/{id}/parts", 6, "confidential", (50, 200), 500, leads_to=("s3:PutObject",)),
    ),
}
"""Operations of services, by job."""

KEYED: Final[dict[str, tuple[Operation, ...]]] = {
    "report-export": (
        Operation("GET /reports", 5, "internal", (5, 20), 10, leads_to=("GET /reports/{id}/rows",)),
        Operation("GET /reports/{id}/rows", 8, "confidential", (5, 30), 40),
    ),
    "deploy-bot": (
        Operation("GET /pipelines/{id}", 8, "internal", (1, 5), 8),
        Operation("POST /deployments", 1, "confidential", (1, 1), 1),
        Operation("s3:GetObject", 5, "internal", (1, 1), 300),
    ),
}
"""Operations with people's API keys, by use."""


TOOLS: Final = (
    tool("search_mail", 8, "internal", (1, 15), "read_mail"),
    tool("read_mail", 10, "internal", (1, 1), "draft_reply", "look_up_customer"),
    tool("draft_reply", 4, "internal", (1, 1)),
    tool("read_calendar", 6, "internal", (1, 10), "create_event"),
    tool("create_event", 2, "internal", (1, 1)),
    tool("summarise_file", 4, "confidential", (1, 1)),
    tool("look_up_customer", 5, "confidential", (1, 2)),
    tool("fill_expense", 2, "internal", (1, 1)),
)
"""Tools of agents; each agent has a few of them."""

NIGHTLY: Final = (
    tool("list_tickets", 4, "internal", (10, 40), "classify_ticket"),
    tool("classify_ticket", 12, "internal", (1, 1), "label_ticket"),
    tool("label_ticket", 8, "internal", (1, 1), "classify_ticket"),
)
"""Tools of an agent that sorts tickets at night, very fast."""

INFRASTRUCTURE: Final = (
    Operation("ec2:DescribeInstances", 6, "internal", (5, 60), 30),
    Operation("iam:GetRole", 8, "internal", (1, 1), 2),
    Operation("s3:GetObject", 4, "internal", (1, 1), 40),
)
APPLIED: Final = (
    Operation("iam:CreateUser", 1, "restricted"),
    Operation("iam:CreateAccessKey", 1, "restricted"),
    Operation("iam:AttachRolePolicy", 1, "restricted"),
    Operation("iam:PutRolePolicy", 1, "restricted"),
)
"""Operations that infrastructure as code reads all day, and those it applies in its runs."""

RELEASES: Final = (
    Operation("GET /workspaces/{id}/timeline", 3, "internal", (5, 30), 18),
    Operation("GET /assistant/suggestions", 4, "internal", (1, 5), 4),
    Operation("POST /boards/{id}/cards", 2, "internal", (1, 1), 1),
    Operation("GET /insights/{id}", 3, "confidential", (1, 10), 12),
)
"""Operations of new releases, which everybody uses from then on."""

MINT: Final = Operation("POST /keys", 1, "restricted")
MONTH_END: Final = Operation("GET /ledgers/{id}/entries", 1, "confidential", (40, 110), 60)
BATCH: Final = Operation("GET /customers", 1, "confidential", (200, 1000), 900)
