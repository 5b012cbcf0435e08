"""Tenant of a record: the record header with which a gateway confirms an event's tenant.

A producer can write any tenant into an event. The gateway between producers and topics has authenticated the producer;
it sets a header with the tenant, and replaces any header of that name that it received.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from schemas.decoded import Decoded, E, without
from schemas.refusal import shown_word
from schemas.topics import TOPICS

TENANT_HEADER: Final = "tenant"
"""The header's name. A Kafka record can have several headers of one name: then none of them counts."""

TENANT_CHECKED: Final = frozenset(topic.name for topic in TOPICS.values() if topic.checks_tenant)
"""The topics on which an event's tenant must be that of the header."""

Tenants = Sequence[Sequence[bytes]]
"""For each record of a chunk, the values of its headers of that name."""


def header_tenants(headers: Iterable[tuple[str, bytes | None]]) -> list[bytes]:
    """The values of a record's *headers* with the name above."""
    return [value or b"" for name, value in headers if name == TENANT_HEADER]


def reject_wrong_tenants(decoded: Decoded[E], tenants: Tenants, tenant_of: Callable[[E], str]) -> Decoded[E]:
    """Reject every event of *decoded* whose tenant is not that of its record's header."""
    claimed = list(map(tenant_of, decoded.events))
    in_headers = [tenants[place] for place in decoded.places]
    if [[tenant.encode()] for tenant in claimed] == in_headers:
        return decoded
    return without(decoded, [_reason(tenant, values) for tenant, values in zip(claimed, in_headers, strict=True)])


def _reason(claimed: str, values: Sequence[bytes]) -> str | None:
    if len(values) == 1:
        if values[0] == claimed.encode():
            return None
        text = shown_word(values[0].decode(errors="replace"))
        return f"tenant: the event says {shown_word(claimed)}, its record header {TENANT_HEADER!r} says {text}"
    how_many = "several record headers" if values else "no record header"
    return f"tenant: {how_many} {TENANT_HEADER!r}; the gateway before the topic must set exactly one"
