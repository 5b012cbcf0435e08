"""OCSF Detection Finding (class 2004) as the pipeline sends it: a thin, typed part of OCSF 1.8.0.

One finding per episode of a session: created when its level rises, updated, closed when the level falls or
the session ends; `finding_info.uid` stays the same. See schema.ocsf.io/1.8.0/classes/detection_finding.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.decisions import Subject
from schemas.fields import Action, Id, Message, Millis, Mode, Name, Technique, Text


class Product(Message):
    """OCSF object `product`: the program that reports."""

    name: Literal["session-risk"]
    vendor_name: Literal["session-risk"]
    version: Name | None = None


class Metadata(Message):
    """OCSF object `metadata`. `uid` is unique per event; `correlation_uid` carries the decision."""

    version: Literal["1.8.0"]
    product: Product
    uid: Id
    correlation_uid: Id | None = None
    tenant_uid: Id | None = None


class TechniqueRef(Message):
    """OCSF object `technique`."""

    uid: Technique
    name: Id | None = None


class Attack(Message):
    """OCSF object `attack`: a technique, and the version of ATT&CK that defines it."""

    version: Name
    technique: TechniqueRef


class FindingInfo(Message):
    """OCSF object `finding_info`: the episode. `types` are the ids of the detections behind it."""

    uid: Id
    title: Text
    desc: Text | None = None
    types: Annotated[list[Name], Field(max_length=64)]
    created_time: Millis
    modified_time: Millis
    attacks: Annotated[list[Attack], Field(max_length=64)]


class Session(Message):
    """OCSF object `session`."""

    uid: Id


class User(Message):
    """OCSF object `user`: the principal, whatever its kind. `type` is the kind, with `type_id` 99 (other)."""

    uid: Id
    type_id: Literal[1, 3, 99]
    type: Name | None = None


class Actor(Message):
    """OCSF object `actor`: the user and the session."""

    session: Session
    user: User | None = None


class Device(Message):
    """OCSF object `device`. `type_id` 0: unknown."""

    uid: Id
    type_id: Literal[0, 1, 2, 3, 4, 5]


class Evidence(Message):
    """OCSF object `evidences`: actor, device, and in `data` one reason of the decision as on the wire."""

    actor: Actor
    device: Device | None = None
    data: dict[str, Any] | None = None


class Unmapped(Subject):
    """OCSF object `unmapped`: fields for which OCSF has no attribute. `session_id` is the record's key."""

    decision_id: Id | None = None
    action: Action | None = None
    mode: Mode | None = None
    model: Id | None = None
    policy: Id | None = None


class SessionFinding(Message):
    """OCSF Detection Finding about one session.

    `type_uid` = `class_uid` · 100 + `activity_id` (1 create, 2 update, 3 close). `status_id` 1 new, 2 in
    progress, 3 suppressed, 4 resolved. `severity_id` 1 informational to 5 critical. `risk_level_id` 0 info,
    1 low, 2 medium, 3 high, 4 critical. While no enforcer confirms a revocation that was sent again, the
    severity is critical and `finding_info.types` begins with `revocation_unconfirmed`. If the session is
    forgotten before one does, the finding is not closed: a last update says so in `status_detail`.
    """

    category_uid: Literal[2]
    class_uid: Literal[2004]
    type_uid: Literal[200401, 200402, 200403]
    activity_id: Literal[1, 2, 3]
    status_id: Literal[1, 2, 3, 4]
    severity_id: Literal[1, 2, 3, 4, 5]
    time: Millis
    start_time: Millis | None = None
    message: Text | None = None
    is_alert: bool | None = None
    metadata: Metadata
    finding_info: FindingInfo
    risk_level_id: Literal[0, 1, 2, 3, 4]
    risk_score: Annotated[int, Field(ge=0, le=100)]
    risk_details: Text | None = None
    status_detail: Text | None = None
    evidences: Annotated[list[Evidence], Field(max_length=64)]
    unmapped: Unmapped
