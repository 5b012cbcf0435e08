"""What people and enforcers say back to the pipeline: acknowledgements, verdicts, orders about models."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.members import DEFAULT_TENANT, Id, Message, Millis, Mode, Name, Tenant, Text


class RevocationAck(Message):
    """The enforcer's word on a revocation: a command accepted is not yet a session dead."""

    tenant: Tenant = DEFAULT_TENANT
    revocation_id: Id
    session_id: Id
    outcome: Literal["revoked", "not_found", "failed"]
    occurred_at: Millis
    enforcer: Id | None = None
    detail: Text | None = None


class SessionFeedback(Message):
    """The verdict of an analyst or of the user on a decision.

    `confirmed_compromised` ends the session and what was born of it. `false_positive` keeps `detections`
    quiet for the session's principal until `expires_at`, within what the policy allows; without them, what
    counts against the session now. The other verdicts are labels.
    """

    tenant: Tenant = DEFAULT_TENANT
    decision_id: Id | None = None
    session_id: Id
    verdict: Literal["true_positive", "false_positive", "benign_true_positive", "unsure", "confirmed_compromised"]
    reported_by: Id
    occurred_at: Millis
    note: Text | None = None
    detections: Annotated[list[Name], Field(max_length=64)] | None = None
    expires_at: Millis | None = None


class ModelControl(Message):
    """An order about a model: make it champion, let it shadow, retire it, or set the `mode` it decides in."""

    command: Literal["promote", "shadow", "retire", "mode"]
    model: Id
    mode: Mode | None = None
    issued_by: Id
    occurred_at: Millis
