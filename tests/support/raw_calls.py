"""API calls as bytes under a key, and as they are decoded."""

import json
from typing import Any

from schemas.decoded import Limits
from schemas.events import ApiCall

NOW = 1_795_501_800_000
LIMITS = Limits()


def call(**members: Any) -> dict[str, Any]:
    """A small valid `api.call`, with what a test states changed."""
    return {
        "type": "api.call",
        "event_id": "c-1",
        "occurred_at": NOW,
        "session_id": "s-1",
        "principal_id": "u-1",
        "principal_kind": "human",
        "operation": "GET /accounts/{id}",
        **members,
    }


def raw(**members: Any) -> bytes:
    return json.dumps(call(**members)).encode()


def plain(**members: Any) -> dict[str, Any]:
    return ApiCall.model_validate(call(**members)).model_dump()
