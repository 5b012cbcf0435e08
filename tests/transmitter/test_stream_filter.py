"""Which stream wants to hear of what."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.transmitter.protocol import CAEP, SUPPORTED
from pipeline.transmitter.tokens.events import events_of_record
from pipeline.transmitter.tokens.stream_filter import events_delivered, no_tenant_warning, skip_reason
from tests.support.transmitter_records import revocation, stream

(REVOKED,) = events_of_record(*revocation())


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, None),
        ({"status": "paused"}, None),
        ({"status": "disabled"}, "status"),
        ({"events_requested": (f"{CAEP}session-revoked", "urn:unknown")}, None),
        ({"events_requested": (f"{CAEP}risk-level-change",)}, "event"),
        ({"events_requested": ()}, "event"),
        ({"tenant": "default"}, None),
        ({"tenant": "acme"}, "tenant"),
    ],
)
def test_a_stream_hears_of_what_it_asked_for_in_its_tenant_unless_it_is_disabled(
    members: dict[str, Any], why: str | None
) -> None:
    assert skip_reason(stream(**members), REVOKED) == why


@pytest.mark.parametrize(("tenant", "why"), [(None, "tenant"), ("acme", "tenant"), ("default", None)])
def test_where_tenants_are_strangers_a_stream_hears_of_its_own_or_of_nothing(
    tenant: str | None, why: str | None
) -> None:
    assert skip_reason(stream(tenant=tenant), REVOKED, tenancy=True) == why


def test_events_delivered_are_those_supported_that_were_asked_for() -> None:
    asked = ("urn:unknown", SUPPORTED[2], SUPPORTED[0])

    assert events_delivered(stream(events_requested=asked)) == (SUPPORTED[0], SUPPORTED[2])
    assert events_delivered(stream()) == SUPPORTED
    assert events_delivered(stream(events_requested=())) == ()


@pytest.mark.parametrize(("count", "named"), [(1, "s-0."), (20, "s-18, s-19."), (23, "s-18, s-19 and 3 more.")])
def test_streams_that_are_told_of_nothing_are_named_but_not_by_the_thousand(count: int, named: str) -> None:
    text = no_tenant_warning([f"s-{number}" for number in range(count)])

    assert text.startswith("with SESSION_RISK_TENANCY a stream without a tenant gets no events: s-0")
    assert named in text
