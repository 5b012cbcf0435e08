"""Records that people and enforcers send to the pipeline: acknowledgements, verdicts, and orders about models."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.fields import DEFAULT_TENANT, Id, Message, Millis, Mode, Name, Tenant, Text


class RevocationAck(Message):
    """An enforcer's acknowledgement of a revocation: that it received the command does not end the session yet."""

    tenant: Tenant = DEFAULT_TENANT
    revocation_id: Id
    session_id: Id
    outcome: Literal["revoked", "not_found", "failed"]
    occurred_at: Millis
    enforcer: Id | None = None
    detail: Text | None = None


class SessionFeedback(Message):
    """The verdict of an analyst or of the user on a decision.

    `confirmed_compromised` revokes the session and its descendants. `false_positive` suppresses `detections` for the
    session's principal until `expires_at`, as far as the policy allows; without `detections`, those that count
    against the session now. The other verdicts are labels.
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
    """An order about a model: make it champion or challenger, retire it, or set the `mode` of decisions."""

    command: Literal["promote", "shadow", "retire", "mode"]
    model: Id
    mode: Mode | None = None
    issued_by: Id
    occurred_at: Millis
