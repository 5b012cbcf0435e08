"""Types of decoded records: one `TypedDict` per topic, so that the type checker knows every field of an event.

The decoder gives plain dicts (:mod:`schemas.plain`) that have every field of their model, `None` where it is absent.
These classes describe the same dicts to the type checker and do nothing at run time. The models stay the contract:
`tests/schemas/test_records.py` compares the two field by field. `session-findings` has no class here, because nothing
in this program reads findings.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypedDict

from schemas import topics
from schemas.fields import Action, Attestation, Level, Mode, NetworkType, PrincipalKind

AuthAction = Literal[
    "sign_in",
    "sign_in_failed",
    "mfa_challenged",
    "mfa_passed",
    "mfa_denied",
    "mfa_failed",
    "step_up_passed",
    "token_issued",
    "token_refreshed",
    "token_exchanged",
    "token_reused",
    "credential_added",
    "credential_changed",
    "credential_removed",
    "recovery_started",
    "sign_out",
    "other",
]
ActivityKind = Literal[
    "started",
    "client_changed",
    "used",
    "summary",
    "ended",
    "revoked",
    "credential_added",
    "credential_changed",
    "credential_removed",
    "recovery_started",
    "muted",
    "vouched",
    "device_moved",
]


class EventHead(TypedDict):
    """The fields from which messages that follow from an event about a session are derived."""

    occurred_at: int
    tenant: str
    session_id: str
    event_id: str


class PostureDict(TypedDict):
    """What a device reports of itself."""

    sequence: int | None
    heartbeat_interval_ms: int | None
    platform: Literal["ios", "android", "macos", "windows", "linux", "other"] | None
    os_version: str | None
    patch_level: str | None
    managed: bool | None
    compliant: bool | None
    rooted: bool | None
    emulator: bool | None
    hooked: bool | None
    debugger: bool | None
    developer_mode: bool | None
    screen_lock: bool | None
    encrypted: bool | None
    app_signature_valid: bool | None
    attestation: Attestation | None
    attested_at: int | None
    malware: Literal["none", "detected", "quarantined"] | None
    malware_family: str | None
    sim_id: str | None


class ClientDict(TypedDict):
    """The client's network and software."""

    ip: str | None
    asn: int | None
    country: str | None
    latitude: float | None
    longitude: float | None
    network_type: NetworkType | None
    user_agent: str | None
    ja4: str | None


class EnvelopeDict(TypedDict):
    """The fields at the head of every event, besides its `type`."""

    event_id: str
    occurred_at: int
    tenant: str


class EventDict(ClientDict, EnvelopeDict):
    """What producers' events have in common."""

    token_id: str | None
    key_thumbprint: str | None


class DeviceTelemetryDict(PostureDict, EventDict):
    """A record of `device-telemetry`."""

    type: Literal["device.telemetry"]
    device_id: str


class HomeDict(TypedDict):
    """What a workload's credential was issued for."""

    workload: Literal["instance", "container", "function", "ci"] | None
    home_asn: int | None
    home_prefix: str | None


class SessionEventDict(EventDict):
    """An event that happened in a session of a principal."""

    session_id: str
    principal_id: str
    principal_kind: PrincipalKind
    device_id: str | None


class AuthEventDict(HomeDict, SessionEventDict):
    """A record of `auth-events`."""

    type: Literal["auth.event"]
    action: AuthAction
    parent_session_id: str | None
    acr: str | None
    amr: list[str] | None
    scopes: list[str] | None
    credential_expires_at: int | None
    reason: str | None


class ApiCallDict(SessionEventDict):
    """A record of `api-calls`."""

    type: Literal["api.call"]
    operation: str
    status: int | None
    method: str | None
    bytes_in: int | None
    bytes_out: int | None
    records: int | None
    latency_ms: int | None
    sensitivity: Literal["public", "internal", "confidential", "restricted"] | None
    scope: str | None
    tool: str | None
    resource: str | None


class SessionContextDict(PostureDict, EnvelopeDict):
    """A record of `session-context`."""

    type: Literal["session.context"]
    session_id: str
    source: Literal["device", "principal", "lineage", "network", "feedback"]
    signals: list[str] | None
    details: dict[str, str] | None
    device_id: str | None
    heard_at: int | None
    known_device: bool | None
    known_asn: bool | None
    known_country: bool | None
    known_client: bool | None
    novelty: float | None
    concurrent_sessions: int | None
    sessions_seen: int | None
    place_speed_kmh: float | None
    usual_asn: bool | None
    days_known: int | None
    usual: dict[str, float] | None
    usual_concurrent: int | None
    hour_share: float | None
    strange_sessions: int | None
    strange_networks: int | None
    relation: Literal["child", "ancestor_revoked"] | None
    child_session_id: str | None
    root_session_id: str | None
    muted: dict[str, int] | None
    network_principals: int | None


class SessionBindingDict(EnvelopeDict):
    """A record of `session-bindings`."""

    type: Literal["session.binding"]
    device_id: str
    session_id: str
    principal_id: str
    principal_kind: PrincipalKind
    state: Literal["live", "ended"]


class SuppressionDict(TypedDict):
    """A record of `suppressions`."""

    suppression_id: str
    tenant: str
    principal_id: str | None
    session_id: str
    decision_id: str | None
    state: Literal["created", "refused", "expired"]
    detections: list[str]
    owner: str
    reason: str | None
    refusal: str | None
    occurred_at: int
    expires_at: int


class PrincipalActivityDict(HomeDict, ClientDict, EnvelopeDict):
    """A record of `principal-activity`."""

    type: Literal["principal.activity"]
    session_id: str
    principal_id: str
    principal_kind: PrincipalKind
    kind: ActivityKind
    device_id: str | None
    suppression: SuppressionDict | None
    used: list[str] | None
    peaks: dict[str, float] | None
    guess: Literal[True] | None


class NetworkActivityDict(EnvelopeDict):
    """A record of `network-activity`."""

    type: Literal["network.activity"]
    network: str
    session_id: str
    principal_id: str
    principal_kind: PrincipalKind
    action: Literal["sign_in", "sign_in_failed", "mfa_passed", "mfa_denied", "mfa_failed"]
    network_type: NetworkType | None
    ja4: str | None


class SubjectDict(TypedDict):
    """The session that a decision is about."""

    tenant: str
    session_id: str
    principal_id: str | None
    principal_kind: PrincipalKind | None
    device_id: str | None


class ReasonDict(TypedDict):
    """One cause of a decision."""

    detection: str
    text: str
    severity: Level
    attack: list[str] | None
    contribution: float
    observed: float | str | None
    normal: float | str | None
    evidence: list[str] | None
    first_at: int | None
    last_at: int | None


class SessionRiskDict(SubjectDict):
    """A record of `session-risk`."""

    decision_id: str
    caused_by: str | None
    occurred_at: int
    decided_at: int
    score: float
    level: Level
    previous_level: Level
    action: Action
    mode: Mode
    suppressed: str | None
    model: str
    policy: str
    reasons: list[ReasonDict]
    learning: list[str] | None


class CommandDict(SubjectDict):
    """What revocations and challenges have in common."""

    root_session_id: str | None
    decision_id: str
    reason_admin: str
    reason_user: str
    detections: list[str]
    score: float
    decided_at: int
    deadline: int


class SessionRevocationDict(CommandDict):
    """A record of `session-revocations`."""

    revocation_id: str


class SessionChallengeDict(CommandDict):
    """A record of `session-challenges`."""

    challenge_id: str
    asks: Literal["factor", "approval"] | None
    parent_session_id: str | None
    revoked_if_unanswered: bool | None


class SessionFeaturesDict(TypedDict):
    """A record of `session-features`."""

    tenant: str
    session_id: str
    principal_kind: PrincipalKind | None
    event_id: str | None
    occurred_at: int
    scored_at: int
    level: Level
    model: str
    policy: str
    feature_set: str
    role: int | None
    values: dict[str, float]


class OpinionDict(TypedDict):
    """What one model makes of a vector."""

    model: str
    score: float
    band: int
    level: Level
    action: Action


class SessionShadowDict(TypedDict):
    """A record of `session-shadow`."""

    tenant: str
    session_id: str
    principal_id: str | None
    principal_kind: PrincipalKind | None
    caused_by: str
    occurred_at: int
    decided_at: int
    policy: str
    champion: OpinionDict
    challenger: OpinionDict
    differs: bool


class SessionFeedbackDict(TypedDict):
    """A record of `session-feedback`."""

    tenant: str
    decision_id: str | None
    session_id: str
    verdict: Literal["true_positive", "false_positive", "benign_true_positive", "unsure", "confirmed_compromised"]
    reported_by: str
    occurred_at: int
    note: str | None
    detections: list[str] | None
    expires_at: int | None


class RevocationAckDict(TypedDict):
    """A record of `revocation-acks`."""

    tenant: str
    revocation_id: str
    session_id: str
    outcome: Literal["revoked", "not_found", "failed"]
    occurred_at: int
    enforcer: str | None
    detail: str | None


class ModelControlDict(TypedDict):
    """A record of `model-control`."""

    command: Literal["promote", "shadow", "retire", "mode"]
    model: str
    mode: Mode | None
    issued_by: str
    occurred_at: int


class DeadLetterDict(TypedDict):
    """A record of `dead-letters`."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: str | None
    size: int
    reason: str
    at: int


RECORD_TYPES: Final[dict[str, Any]] = {
    topics.DEVICE_TELEMETRY: DeviceTelemetryDict,
    topics.AUTH_EVENTS: AuthEventDict,
    topics.API_CALLS: ApiCallDict,
    topics.SESSION_CONTEXT: SessionContextDict,
    topics.SESSION_BINDINGS: SessionBindingDict,
    topics.PRINCIPAL_ACTIVITY: PrincipalActivityDict,
    topics.NETWORK_ACTIVITY: NetworkActivityDict,
    topics.SESSION_RISK: SessionRiskDict,
    topics.SESSION_REVOCATIONS: SessionRevocationDict,
    topics.SESSION_CHALLENGES: SessionChallengeDict,
    topics.SESSION_FEATURES: SessionFeaturesDict,
    topics.SESSION_SHADOW: SessionShadowDict,
    topics.SUPPRESSIONS: SuppressionDict,
    topics.SESSION_FEEDBACK: SessionFeedbackDict,
    topics.REVOCATION_ACKS: RevocationAckDict,
    topics.MODEL_CONTROL: ModelControlDict,
    topics.DEAD_LETTERS: DeadLetterDict,
}
"""The type of a topic's decoded records."""
