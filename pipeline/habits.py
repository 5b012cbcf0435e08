"""What a session shows of its principal's habits: device, network, country, client."""

from __future__ import annotations

from typing import Any, Final

from models.columns import client_family, network_name

HABITS: Final = ("device", "asn", "country", "client")
MOST_HABITS: Final = 64


def shown_by(event: dict[str, Any]) -> dict[str, list[str]]:
    """What the event shows of each habit it knows; a network has a number, a prefix, or both."""
    numbered = None if event["asn"] is None else network_name(None, event["asn"])
    shown = {
        "device": [event["device_id"]],
        "asn": [numbered, network_name(event["ip"], None)],
        "country": [event["country"]],
        "client": [client_family(event["user_agent"]) or event["ja4"]],
    }
    told = {name: [value for value in values if value is not None] for name, values in shown.items()}
    return {name: values for name, values in told.items() if values}
