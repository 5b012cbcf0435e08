"""What is called: a row per operation, by role. Tables, and the one function that fills in a call's sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: how often it is called beside the others of its role (*weight*), on what data, and how much.

    *records* are the fewest and the most a usual call touches; *kilobytes* is the median answer.
    """

    name: str
    weight: float
    sensitivity: str = "internal"
    records: tuple[int, int] = (0, 1)
    kilobytes: float = 2.0
    tool: str | None = None

    @property
    def method(self) -> str | None:
        """The HTTP method, unknown for `service:Action`."""
        return self.name.split(" ")[0] if " " in self.name else None


ROLES: Final[dict[str, tuple[Operation, ...]]] = {
    "analyst": (
        Operation("GET /cases", 8, "internal", (5, 25), 12),
        Operation("GET /cases/{id}", 14, "confidential", (1, 1), 6),
        Operation("GET /customers/{id}", 12, "confidential", (1, 1), 4),
        Operation("GET /accounts/{id}/transactions", 10, "confidential", (5, 30), 15),
        Operation("POST /cases/{id}/notes", 5, "internal", (1, 1), 1),
        Operation("PATCH /cases/{id}", 3, "internal", (1, 1), 1),
        Operation("GET /reports/{id}", 2, "internal", (10, 60), 60),
        Operation("GET /search", 6, "internal", (0, 20), 8),
        Operation("POST /payments/{id}/approvals", 1, "restricted", (1, 1), 1),
    ),
    "support": (
        Operation("GET /tickets", 12, "internal", (10, 25), 10),
        Operation("GET /tickets/{id}", 18, "internal", (1, 1), 5),
        Operation("POST /tickets/{id}/replies", 9, "internal", (1, 1), 1),
        Operation("GET /customers/{id}", 14, "confidential", (1, 1), 4),
        Operation("GET /orders/{id}", 9, "confidential", (1, 1), 3),
        Operation("POST /refunds", 1, "restricted", (1, 1), 1),
        Operation("GET /articles", 5, "public", (5, 20), 20),
    ),
    "developer": (
        Operation("GET /repos/{id}", 12, "internal", (1, 1), 6),
        Operation("GET /repos/{id}/pulls", 10, "internal", (5, 30), 18),
        Operation("POST /repos/{id}/reviews", 4, "internal", (1, 1), 1),
        Operation("GET /pipelines/{id}", 14, "internal", (1, 5), 8),
        Operation("GET /logs", 10, "internal", (20, 80), 40),
        Operation("POST /deployments", 1, "confidential", (1, 1), 1),
        Operation("GET /secrets/{id}", 0.4, "restricted", (1, 1), 1),
        Operation("s3:GetObject", 6, "internal", (1, 1), 80),
        Operation("s3:ListObjectsV2", 3, "internal", (10, 60), 12),
    ),
    "finance": (
        Operation("GET /invoices", 12, "confidential", (10, 30), 14),
        Operation("GET /invoices/{id}", 16, "confidential", (1, 1), 5),
        Operation("GET /payments", 8, "confidential", (10, 30), 12),
        Operation("POST /payments", 2, "restricted", (1, 1), 1),
        Operation("POST /payments/{id}/approvals", 2, "restricted", (1, 1), 1),
        Operation("GET /ledgers/{id}", 6, "confidential", (5, 25), 20),
        Operation("GET /suppliers/{id}", 7, "internal", (1, 1), 3),
    ),
    "admin": (
        Operation("GET /users", 12, "internal", (10, 50), 16),
        Operation("GET /users/{id}", 14, "confidential", (1, 1), 3),
        Operation("PATCH /users/{id}", 4, "confidential", (1, 1), 1),
        Operation("GET /roles", 6, "internal", (5, 20), 6),
        Operation("POST /roles/{id}/grants", 0.3, "restricted", (1, 1), 1),
        Operation("GET /audit-logs", 8, "confidential", (20, 50), 40),
        Operation("GET /devices", 9, "internal", (10, 50), 18),
        Operation("POST /devices/{id}/wipe", 0.1, "restricted", (1, 1), 1),
    ),
}
"""What people call, by role."""

ON_THE_PHONE: Final = (
    Operation("GET /inbox", 12, "internal", (5, 20), 10),
    Operation("GET /messages/{id}", 14, "internal", (1, 1), 4),
    Operation("GET /calendar", 6, "internal", (3, 12), 4),
    Operation("GET /approvals", 5, "confidential", (1, 6), 3),
    Operation("GET /customers/{id}", 3, "confidential", (1, 1), 4),
    Operation("POST /messages", 3, "internal", (1, 1), 1),
    Operation("POST /payments/{id}/approvals", 0.5, "restricted", (1, 1), 1),
)
"""What anybody calls from a phone."""

JOBS: Final[dict[str, tuple[Operation, ...]]] = {
    "billing-sync": (
        Operation("GET /orders", 6, "confidential", (20, 100), 60),
        Operation("POST /invoices", 3, "confidential", (1, 10), 2),
        Operation("GET /customers/{id}", 4, "confidential", (1, 1), 4),
    ),
    "search-indexer": (
        Operation("GET /changes", 8, "internal", (10, 200), 120),
        Operation("POST /index/documents", 8, "internal", (10, 200), 1),
    ),
    "webhook-relay": (
        Operation("GET /events", 10, "internal", (0, 20), 12),
        Operation("POST /webhooks/{id}/deliveries", 6, "internal", (1, 1), 1),
    ),
    "backup": (
        Operation("s3:PutObject", 6, "confidential", (1, 1), 1),
        Operation("GET /exports/{id}/parts", 6, "confidential", (50, 200), 500),
    ),
}
"""What services call, by job."""

KEYED: Final[dict[str, tuple[Operation, ...]]] = {
    "report-export": (
        Operation("GET /reports", 5, "internal", (5, 20), 10),
        Operation("GET /reports/{id}/rows", 8, "confidential", (5, 30), 40),
    ),
    "deploy-bot": (
        Operation("GET /pipelines/{id}", 8, "internal", (1, 5), 8),
        Operation("POST /deployments", 1, "confidential", (1, 1), 1),
        Operation("s3:GetObject", 5, "internal", (1, 1), 300),
    ),
}
"""What is called with the API keys that people mint, by use."""


def _tool(name: str, weight: float, sensitivity: str, records: tuple[int, int]) -> Operation:
    return Operation(f"POST /tools/{name}", weight, sensitivity, records, 3, name)


TOOLS: Final = (
    _tool("search_mail", 8, "internal", (1, 15)),
    _tool("read_mail", 10, "internal", (1, 1)),
    _tool("draft_reply", 4, "internal", (1, 1)),
    _tool("read_calendar", 6, "internal", (1, 10)),
    _tool("create_event", 2, "internal", (1, 1)),
    _tool("summarise_file", 4, "confidential", (1, 1)),
    _tool("look_up_customer", 5, "confidential", (1, 2)),
    _tool("fill_expense", 2, "internal", (1, 1)),
)
"""What agents are for; each has a few of these."""

FOREIGN_TOOLS: Final = (
    _tool("export_contacts", 1, "confidential", (20, 80)),
    _tool("list_api_keys", 1, "restricted", (1, 10)),
    _tool("read_secret", 1, "restricted", (1, 1)),
    _tool("share_folder", 1, "confidential", (1, 5)),
    _tool("run_code", 1, "internal", (0, 1)),
    _tool("forward_mail", 1, "confidential", (1, 10)),
)
"""What an agent that was talked into something starts to call."""

CHAIN: Final = (
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
)
"""Make a credential, widen its rights, blind the audit: in the words of an application and of a cloud."""

MINT: Final = CHAIN[0][0]
EXPORT: Final = Operation("GET /customers", 1, "confidential", (300, 900), 900)
MONTH_END: Final = Operation("GET /ledgers/{id}/entries", 1, "confidential", (40, 110), 60)
BATCH: Final = Operation("GET /customers", 1, "confidential", (200, 1000), 900)

_STATUSES: Final = (200, 304, 404, 403, 429, 500)
_STATUS_WEIGHTS: Final = tuple(accumulate((950, 20, 15, 6, 3, 6)))


def cumulative(operations: tuple[Operation, ...]) -> tuple[float, ...]:
    """Return the running sum of the weights, as `Random.choices` wants it."""
    return tuple(accumulate(operation.weight for operation in operations))


def call(operation: Operation, rng: Random) -> dict[str, Any]:
    """Return the members of one call of *operation*: status, sizes, records, latency, what was touched."""
    status = rng.choices(_STATUSES, cum_weights=_STATUS_WEIGHTS)[0]
    good = status == 200
    method = operation.method
    if good and method == "POST":
        status = 201
    members: dict[str, Any] = {
        "operation": operation.name,
        "status": status,
        "bytes_in": 180 + int(rng.expovariate(0.004)),
        "bytes_out": int(operation.kilobytes * 1024 * rng.lognormvariate(0, 0.6)) if good else 240,
        "records": rng.randint(*operation.records) if good else 0,
        "latency_ms": int(12 + rng.lognormvariate(3.2, 0.7)),
        "sensitivity": operation.sensitivity,
        "resource": f"r-{int(rng.expovariate(0.02)):04d}",
    }
    if method is not None:
        members["method"] = method
    if operation.tool is not None:
        members["tool"] = operation.tool
    return members
