"""Output records: decisions, commands, scored vectors and dead letters.

OCSF findings have a vocabulary of their own and are in `findings.py`.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.fields import (
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
    """One reason for a decision: what was observed, what is normal, and how much of the score it explains.

    `contribution` is in log-odds, which the score adds up; `evidence` lists events by `event_id`, `attack` lists
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
    """The session that a record is about, with its principal and device.

    If pseudonyms are configured, principal and device are `p:KEY_ID:…`, except in commands.
    """

    tenant: Tenant = DEFAULT_TENANT
    session_id: Id
    principal_id: Id | None = None
    principal_kind: PrincipalKind | None = None
    device_id: Id | None = None


class SessionRisk(Subject):
    """A decision about a session, for SOC and SIEM, with everything needed to understand and replay it.

    `reasons` are sorted by contribution, largest first; `suppressed` explains why an action was held back; `caused_by`
    is the `event_id` of the event that led to the decision, `occurred_at` that event's time. `learning` lists
    detections that are inactive because it is not known yet what is normal for the principal. The reason
    `revocation_unconfirmed` contributes nothing: it says that no enforcer has confirmed the revocation, although it was
    sent again.
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
    """The common fields of revocations and challenges: the reasons, the time, and when an acknowledgement is due.

    `root_session_id` is the revoked ancestor because of which the session is revoked, else the session itself.
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

    This is a command, not yet a fact: only the enforcer may state that the session is revoked (CAEP 1.0 §3.1
    `session-revoked`).
    """

    revocation_id: Id


class SessionChallenge(Command):
    """Command: ask about this session. The same cause has the same `challenge_id`.

    `asks` says for what: a `factor` of the person whose session it is (a step-up), or the `approval` of whoever answers
    for a service, key or agent, for an agent the user behind `parent_session_id`. Both are answered with an auth event
    `step_up_passed` of this session. Records of earlier versions lack `asks`: they ask for a factor.
    `revoked_if_unanswered`: whether the session ends if no answer comes by `deadline`.
    """

    challenge_id: Id
    asks: Literal["factor", "approval"] | None = None
    parent_session_id: Id | None = None
    revoked_if_unanswered: bool | None = None


class Suppression(Message):
    """A suppression after a false positive: the detections that do not count for a principal, and until when.

    Its state is `created`, then `expired` at `expires_at`; or `refused`, with the explanation in `refusal`, if the
    policy does not let this `owner`, or anybody, suppress these `detections`. `session_id` and `decision_id` are those
    that the verdict was about, `owner` is who gave it, and `reason` is the owner's explanation. Decisions that a
    suppression changed say so in `suppressed`.
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
    """The exact feature vector that was scored, for retraining. `feature_set` is the hash of the features' names.

    `role` is set for calls: the model's number of the role that the session's earlier calls showed, if any.
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
    """The score of one model for a vector, and the decision about the session that follows from it.

    `score` is the model's, 0 to 1; `band` is the number of quantiles of normal traffic that the score exceeds.
    """

    model: Id
    score: Annotated[float, Field(ge=0, le=1)]
    band: Annotated[int, Field(ge=0, le=3)]
    level: Level
    action: Action


class SessionShadow(Message):
    """The decision that a challenger would have made in place of the champion, on the same event and evidence.

    `differs` says that the level would be another. Such a record is written when the difference begins or changes;
    without a difference, records are written for a sample of all events. The challenger's level is that of the
    champion's session with the challenger's band: risk state, detections, suppressions and proven factors are the
    champion's, and no action ever follows. Score and band are each model's own, by its own roles.
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


KEPT_BYTES: Final = 512 * 1024
"""Bytes of a rejected record's value that are kept: in base64 they still fit a message of the default 1 MiB."""
KEPT_KEY_BYTES: Final = 1024


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4


class DeadLetter(Message):
    """A record that could not be read: its place, its original bytes in base64 (RFC 4648 §4), and the reason.

    `size` is the number of bytes of the original value; if it is too large to be sent on, `value` has only its
    beginning. If pseudonyms are configured, `key` and `value` are left out: the record itself is still in its topic.
    """

    topic: Annotated[str, Field(min_length=1, max_length=249)]
    partition: Count
    offset: Count
    key: Annotated[str, Field(max_length=_base64_length(KEPT_KEY_BYTES))] | None = None
    value: Annotated[str, Field(max_length=_base64_length(KEPT_BYTES))] | None = None
    size: Count
    reason: Annotated[str, Field(min_length=1, max_length=512)]
    at: Millis
