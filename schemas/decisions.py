"""What the pipeline says: decisions, commands, scored vectors and dead letters.

OCSF findings have a vocabulary of their own and live in `findings.py`.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.members import (
    DEFAULT_TENANT,
    Action,
    Count,
    Id,
    Level,
    Message,
    Millis,
    Mode,
    Name,
    PrincipalKind,
    Technique,
    Tenant,
    Text,
)

Score = Annotated[float, Field(ge=0, le=100)]
Measure = float | Annotated[str, Field(max_length=256)]


class Reason(Message):
    """One cause of a decision: what was seen, what is normal, and how much of the score it explains.

    `contribution` is in log-odds, as the score adds it up; `evidence` names events by `event_id`, `attack`
    techniques of MITRE ATT&CK.
    """

    detection: Name
    text: Text
    severity: Level
    attack: Annotated[list[Technique], Field(max_length=16)] | None = None
    contribution: float
    observed: Measure | None = None
    normal: Measure | None = None
    evidence: Annotated[list[Id], Field(max_length=32)] | None = None
    first_at: Millis | None = None
    last_at: Millis | None = None


Reasons = Annotated[list[Reason], Field(max_length=64)]


class Subject(Message):
    """Whose session is spoken of.

    Where operators want pseudonyms, principal and device are `p:KEY_ID:…`, except in commands.
    """

    tenant: Tenant = DEFAULT_TENANT
    session_id: Id
    principal_id: Id | None = None
    principal_kind: PrincipalKind | None = None
    device_id: Id | None = None


class SessionRisk(Subject):
    """A decision about a session, for SOC and SIEM, with everything needed to understand and replay it.

    `reasons` come largest contribution first; `suppressed` says why an action was held back; `caused_by` is
    the `event_id` of the event that moved it, `occurred_at` that event's time. `learning` names detections
    that keep still because they do not know yet what is normal for the principal. The reason
    `revocation_unconfirmed` adds nothing: no enforcer confirms the revocation, though it was sent again.
    """

    decision_id: Id
    caused_by: Id | None = None
    occurred_at: Millis
    decided_at: Millis
    score: Score
    level: Level
    previous_level: Level
    action: Action
    mode: Mode
    suppressed: Text | None = None
    model: Id
    policy: Id
    reasons: Reasons
    learning: Annotated[list[Name], Field(max_length=64)] | None = None


class Command(Subject):
    """What revocations and challenges share: why, when decided, and by when an acknowledgement is due.

    `root_session_id` is the ancestor that fell, else the session itself.
    """

    root_session_id: Id | None = None
    decision_id: Id
    reason_admin: Text
    reason_user: Text
    detections: Annotated[list[Name], Field(max_length=64)]
    score: Score
    decided_at: Millis
    deadline: Millis


class SessionRevocation(Command):
    """Command: end this session. The same cause has the same `revocation_id`, however often it is sent.

    Not yet a fact: only the enforcer may state CAEP 1.0 §3.1 `session-revoked`.
    """

    revocation_id: Id


class SessionChallenge(Command):
    """Command: step this session up. The same cause has the same `challenge_id`."""

    challenge_id: Id


class Suppression(Message):
    """A word on what was called a false positive: detections that keep quiet for a principal, and until when.

    `created`, then `expired` at `expires_at`. `refused`, with the reason in `refusal`: what was asked for is
    beyond what the policy lets this `owner`, or anybody, keep quiet; `detections` are those it is about.
    `session_id` and `decision_id` are what the verdict was on, `owner` is who gave it and `reason` why. That
    it hid something stands in `suppressed` of the decisions it changed.
    """

    suppression_id: Id
    tenant: Tenant = DEFAULT_TENANT
    principal_id: Id | None = None
    session_id: Id
    decision_id: Id | None = None
    state: Literal["created", "refused", "expired"]
    detections: Annotated[list[Name], Field(max_length=64)]
    owner: Id
    reason: Text | None = None
    refusal: Text | None = None
    occurred_at: Millis
    expires_at: Millis


class SessionFeatures(Message):
    """The exact vector that was scored, for retraining. `feature_set` is the hash of the features' names.

    `role` is of a call: the number that the model has for the role that the calls before it showed, if any.
    """

    tenant: Tenant = DEFAULT_TENANT
    session_id: Id
    principal_kind: PrincipalKind | None = None
    event_id: Id | None = None
    occurred_at: Millis
    scored_at: Millis
    level: Level
    model: Id
    policy: Id
    feature_set: Id
    role: Annotated[int, Field(ge=0, le=7)] | None = None
    values: Annotated[dict[Name, float], Field(max_length=1024)]


class Opinion(Message):
    """What one model makes of a vector, and what the session is with it.

    `score` is the model's, 0 to 1; `band` counts the quantiles of normal traffic that it is above.
    """

    model: Id
    score: Annotated[float, Field(ge=0, le=1)]
    band: Annotated[int, Field(ge=0, le=3)]
    level: Level
    action: Action


class SessionShadow(Message):
    """What a challenger would decide where the champion decided, on the same event and the same evidence.

    `differs`: the level would be another. Then the record is made when that begins or changes, else of a
    share of all events. The challenger's level is what its band would make of the champion's session at this
    event: cases, detections, muted ones and proved factors are the champion's, and nothing is ever done about
    it. Scores and bands are each model's own, by its own roles.
    """

    tenant: Tenant = DEFAULT_TENANT
    session_id: Id
    principal_id: Id | None = None
    principal_kind: PrincipalKind | None = None
    caused_by: Id
    occurred_at: Millis
    decided_at: Millis
    policy: Id
    champion: Opinion
    challenger: Opinion
    differs: bool


KEPT_BYTES: Final = 512 * 1024  # of a dead record's value: in base64 it still fits a default 1 MiB message
KEPT_KEY_BYTES: Final = 1024


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4


class DeadLetter(Message):
    """A record that could not be read: where from, its original bytes in base64 (RFC 4648 §4), and why.

    `size` counts the original value's bytes; of one too large to be sent on, `value` holds only the head.
    Where operators want pseudonyms, `key` and `value` are left out: the record is where it was.
    """

    topic: Annotated[str, Field(min_length=1, max_length=249)]
    partition: Count
    offset: Count
    key: Annotated[str, Field(max_length=_base64_length(KEPT_KEY_BYTES))] | None = None
    value: Annotated[str, Field(max_length=_base64_length(KEPT_BYTES))] | None = None
    size: Count
    reason: Annotated[str, Field(min_length=1, max_length=512)]
    at: Millis
