"""Newcomers: their limits depend on the usual of their role at their tenant, and the reason shows it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import topics
from tests.detections.test_role_detections import BULK, DRIP, ELSEWHERE, MAIL, ROLES, Do, refused
from tests.support.histories import now, repeated
from tests.support.role_samples import at_tenant, one_role
from tests.support.run_processors import Desk, Event, found, of, read, replayed
from tests.support.samples import call

ACME_IS_LARGE = at_tenant(ROLES, "acme", 10.0)
"""The usual volume at acme is ten times that of other tenants."""
AGENT: dict[str, Any] = {"principal_id": "assistant", "principal_kind": "agent"}
MANY: list[tuple[str, Do, dict[str, Any]]] = [
    ("mass_read", repeated(10, **BULK), {}),
    ("slow_exfiltration", DRIP, {}),
    ("access_probing", refused(8), {}),
    ("agent_tool_burst", repeated(80, 0.25, **MAIL), AGENT),
    ("agent_insists", repeated(20, 5, status=403, **MAIL), AGENT),
]
"""Too much for a newcomer in a role with small usual volumes."""


def decisions(do: Do, tenant: str, **subject: Any) -> list[Event]:
    return of(replayed(now(do, tenant=tenant, **subject), roles=ACME_IS_LARGE), topics.SESSION_RISK, "s-1")


@pytest.mark.parametrize(("rule", "do", "subject"), MANY, ids=[row[0] for row in MANY])
def test_behaviour_usual_at_the_tenant_is_not_detected_and_the_same_elsewhere_is(
    rule: str, do: Do, subject: dict[str, Any]
) -> None:
    detected = {
        tenant: rule in found(replayed(now(do, tenant=tenant, **subject), roles=ACME_IS_LARGE), "s-1")
        for tenant in ("acme", "birch", "default")
    }

    assert detected == {"acme": False, "birch": True, "default": True}


@pytest.mark.parametrize("tenant", ["acme", "birch"])
@pytest.mark.parametrize(("records", "detected"), [(4_500, ()), (5_600, ("birch",)), (6_800, ("acme", "birch"))])
def test_the_limit_of_a_newcomer_is_twice_what_a_large_tenant_reaches(
    tenant: str, records: int, detected: tuple[str, ...]
) -> None:
    roles = at_tenant(one_role(("GET /x",), {"sensitive_records_10m": 640.0}), "acme", 5.0)
    bulk = repeated(10, 1, records=records // 10, sensitivity="restricted")

    risks = replayed(now(bulk, tenant=tenant), roles=roles)

    assert ("mass_read" in found(risks, "s-1")) is (tenant in detected)


def normal(risks: list[Event], rule: str) -> set[str]:
    """The usual value in each reason, which follows the detection's own words."""
    normals = [item["normal"] for risk in risks for item in risk["reasons"] if item["detection"] == rule]
    return {item.rpartition("; ")[2] for item in normals}


def test_a_reason_shows_the_usual_of_the_role_and_whether_at_this_tenant() -> None:
    much = repeated(40, **BULK)

    assert normal(decisions(repeated(10, **BULK), "birch"), "mass_read") == {"in its role usually ≤ 20"}
    assert normal(decisions(much, "acme"), "mass_read") == {"in its role at this tenant usually ≤ 200"}


def test_a_reason_shows_no_usual_of_a_role_that_the_model_does_not_know() -> None:
    risks = decisions(repeated(40, **BULK, **ELSEWHERE), "acme")

    assert normal(risks, "mass_read") == {"of a newcomer its role's, ≤ 5000 or twice what its tenant's reach"}


def test_a_worker_that_takes_over_still_compares_a_session_with_its_tenants_cohort() -> None:
    first = Desk()
    first.active.roles = ACME_IS_LARGE
    for at in range(20):
        for tenant in ("acme", "birch"):
            first.play(call(at, tenant=tenant, session_id=tenant, records=40, sensitivity="restricted"))
    then = first.restarted()
    then.active.roles = ACME_IS_LARGE

    for tenant in ("acme", "birch"):
        then.play(call(20, tenant=tenant, session_id=tenant, records=250, sensitivity="restricted"))
    outputs = read(then.messages)

    assert "mass_read" in found(outputs, "birch")
    assert found(outputs, "acme") == set()
