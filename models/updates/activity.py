"""Update of a session's activity: sign-ins, proved factors and calls, and how long ago they were."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import ACTION, PRINCIPAL_KIND
from models.events.operations import Stage
from models.features.table import INCREMENT
from models.jit import compiled
from models.updates.recent_values import ADDRESS, OPERATION, RESOURCE, TOOL, is_new, rotate

LAST: Final = 2**32 - 1
"""In the year 2106; what says it is later is taken for that."""


@compiled
def whole_seconds(at: int) -> int:
    """A time in ms as a row keeps it; 0 is never."""
    return min(max(at // 1000, 0), LAST)


_AGENT: Final = PRINCIPAL_KIND["agent"]
TOOLS_SETTLE_MS: Final = 300_000
"""A session's tools of its first five minutes are its own, later ones are new."""

ACTIVITY_FACTS: Final = np.dtype(
    [
        ("at", "<i8"),  # the session's largest event time, ms
        ("previous_at", "<i8"),
        ("session_age", "<f8"),  # ms
        ("strong_age", "<f8"),  # ms since a factor was last proved, or since the start
        ("refreshed_at", "<i8"),  # a refresh token last gave a token, ms; 0 is never
        ("since_refresh_s", "<f8"),  # since then, or since the start
        ("device_event", "<i8"),  # index of the chunk's event that last reported the device, -1 for none
        ("action", "i1"),  # 0 is no auth event
        ("signed_in", "?"),  # a factor was ever proved
        ("proved", "?"),  # the same, besides the sign-in
        ("by_sim", "?"),
        ("powerful", "?"),
        ("calling", "?"),
        ("stage", "u1"),  # what the call did to trust; for secrets and audit also attempts
        ("reaching", "?"),  # for something guarded, or an agent for a tool, not used within the hour
        ("tool_denied", "?"),
        ("fallen", "?"),  # an ancestor was revoked
        ("confirmed", "?"),  # an analyst reported it as compromised
    ]
)
"""What an event was, and what of the session's past depends on when it came."""


def among(*actions: str) -> NDArray[np.bool_]:
    """A table to look up in whether an action's number is one of *actions*."""
    table = np.zeros(len(ACTION) + 1, np.bool_)
    table[[ACTION[name] for name in actions]] = True
    return table


FAILURES: Final = among("sign_in_failed", "mfa_denied", "mfa_failed")
_STRONG: Final = among("sign_in", "mfa_passed", "step_up_passed")
_FACTOR: Final = among("mfa_passed", "step_up_passed")
_CREDENTIAL: Final = among("credential_added", "credential_changed", "credential_removed")
_DENIED, _REFRESHED = ACTION["mfa_denied"], ACTION["token_refreshed"]
_CREATE, _GRANT, _BLIND = int(Stage.CREATE), int(Stage.GRANT), int(Stage.BLIND)
_EXPOSE, _SECRET = int(Stage.EXPOSE), int(Stage.SECRET)
_FAILED, _MFA_DENIED, _CHANGED = (
    INCREMENT["auth_failed"],
    INCREMENT["mfa_denied"],
    INCREMENT["credential_changed"],
)
_CALL, _ERROR, _REFUSAL, _REFUSED_NEW = (
    INCREMENT["call"],
    INCREMENT["error"],
    INCREMENT["denied"],
    INCREMENT["refused_new"],
)
_BYTES_OUT, _RECORDS = INCREMENT["bytes_out"], INCREMENT["records"]
_SENSITIVE_RECORDS, _SENSITIVE_CALL = INCREMENT["sensitive_records"], INCREMENT["sensitive_call"]
_WRITE, _TOOL_CALL, _NEW_TOOL = INCREMENT["write"], INCREMENT["tool_call"], INCREMENT["new_tool"]
_NEW_OPERATION, _NEW_ADDRESS, _NEW_RESOURCE = (
    INCREMENT["new_operation"],
    INCREMENT["new_address"],
    INCREMENT["new_resource"],
)
_CREATED, _GRANTED, _BLINDED = INCREMENT["created"], INCREMENT["granted"], INCREMENT["blinded"]


@compiled
def apply_time(row: Any, fact: Any, at: int) -> None:
    """Move the session on to an event of *at*, ms; time never runs back."""
    fact.previous_at = row.seen_at
    now = max(row.seen_at, at)
    rotate(row, now)
    row.seen_at = fact.at = now
    fact.session_age = now - row.started_at


@compiled
def apply_auth(row: Any, fact: Any, fields: Any, at: int, marks: Any) -> None:
    """Failures, denials, credential changes; when a factor was last proved, and a token last refreshed."""
    action = fields.action
    fact.action, fact.by_sim, fact.powerful = action, fields.by_sim, fields.powerful
    marks[_FAILED], marks[_CHANGED] = FAILURES[action], _CREDENTIAL[action]
    marks[_MFA_DENIED] = action == _DENIED
    if _STRONG[action]:
        row.strong_s = max(row.strong_s, whole_seconds(at))
    if _FACTOR[action]:
        row.proved = True
    if action == _REFRESHED:
        row.refreshed_s = max(row.refreshed_s, whole_seconds(at))


@compiled
def derive_proofs(row: Any, fact: Any) -> None:
    """What the session proved so far, and how long ago."""
    refreshed_at = np.int64(row.refreshed_s) * 1000
    strong_at = np.int64(row.strong_s) * 1000
    fact.signed_in, fact.proved, fact.refreshed_at = strong_at > 0, row.proved, refreshed_at
    fact.strong_age = max(row.seen_at - (strong_at if strong_at > 0 else row.started_at), 0)
    since = refreshed_at if refreshed_at > 0 else row.started_at
    fact.since_refresh_s = max(row.seen_at - since, 0) / 1000


@compiled
def apply_call(row: Any, fact: Any, address: int, fields: Any, marks: Any) -> None:
    """Add a call to the session, and mark what the session had not done before.

    Args:
        row: of the session. fact: record of :data:`ACTIVITY_FACTS`. address: fingerprint of where it came from.
        fields: record of :data:`models.events.batch.CALL_FIELDS`. marks: by :data:`models.features.table.INCREMENT`.
    """
    act = fields.act
    operation, resource = is_new(row, OPERATION, act.operation), is_new(row, RESOURCE, fields.resource)
    tool = is_new(row, TOOL, act.tool)
    tried = act.stage >= _SECRET or (act.stage == _BLIND and fields.denied)
    done = 0 if fields.failed and not tried else act.stage
    fact.calling, fact.stage = True, done
    fact.reaching = (act.guarded and operation) or (tool and row.kind == _AGENT)
    fact.tool_denied = act.tool != 0 and fields.denied
    marks[_CALL], marks[_ERROR], marks[_REFUSAL] = 1.0, fields.failed, fields.denied
    marks[_BYTES_OUT], marks[_RECORDS], marks[_WRITE] = fields.bytes_out, fields.records, act.writing
    marks[_SENSITIVE_CALL], marks[_TOOL_CALL] = act.sensitive, act.tool != 0
    if act.sensitive:
        marks[_SENSITIVE_RECORDS] = fields.records
    marks[_NEW_OPERATION], marks[_NEW_RESOURCE] = operation, resource
    marks[_NEW_ADDRESS] = is_new(row, ADDRESS, address)
    marks[_NEW_TOOL] = tool and row.seen_at - row.started_at >= TOOLS_SETTLE_MS
    marks[_CREATED], marks[_BLINDED] = done == _CREATE, done == _BLIND
    marks[_GRANTED] = done in (_GRANT, _EXPOSE)
    marks[_REFUSED_NEW] = fields.refused and (operation or resource)
