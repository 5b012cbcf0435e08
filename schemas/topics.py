"""Every Kafka topic, one row each: what flows, keyed by what, kept how long. Faust names its changelogs."""

from dataclasses import dataclass
from typing import Literal

from schemas import control, decisions, events, findings, internal
from schemas.members import DAY_MS, Message

DEVICE_TELEMETRY = "device-telemetry"
AUTH_EVENTS = "auth-events"
API_CALLS = "api-calls"
SESSION_CONTEXT = "session-context"
SESSION_BINDINGS = "session-bindings"
PRINCIPAL_ACTIVITY = "principal-activity"
NETWORK_ACTIVITY = "network-activity"
SESSION_RISK = "session-risk"
SESSION_FINDINGS = "session-findings"
SESSION_REVOCATIONS = "session-revocations"
SESSION_CHALLENGES = "session-challenges"
SESSION_FEATURES = "session-features"
SESSION_SHADOW = "session-shadow"
SUPPRESSIONS = "suppressions"
SESSION_FEEDBACK = "session-feedback"
REVOCATION_ACKS = "revocation-acks"
MODEL_CONTROL = "model-control"
DEAD_LETTERS = "dead-letters"

SEGMENTS = 24
"""Into so many parts of its retention a topic is cut: what is over is kept by one of them longer at most."""

Direction = Literal["input", "internal", "output", "control"]

Role = Literal[
    "worker",
    "device-management",
    "identity-provider",
    "gateway",
    "transmitter",
    "soc",
    "operator",
    "data-engineer",
]

ROLES: dict[Role, str] = {
    "worker": "Joins what happens and decides: `session-risk worker`.",
    "device-management": "Tells how devices are: an MDM, an MTD, the collector of an in-app SDK.",
    "identity-provider": "Tells who signs in and how; ends and challenges sessions, and says so.",
    "gateway": "Tells which calls are made; ends and challenges sessions, and says so.",
    "transmitter": "Tells others as security events what was decided and which factors changed; passes their "
    "answers back.",
    "soc": "Reads decisions, findings and commands, gives verdicts: analysts, a SIEM.",
    "operator": "Says which model decides and whether commands are given; looks after dead letters.",
    "data-engineer": "Exports, replays, trains and compares; writes nothing.",
}
"""Who takes part, and what for. One principal may have several roles."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and what it promises.

    `key` names the member, dotted if nested, whose UTF-8 bytes are the record key; `None`: the key of the
    record that could not be read. `retention_ms` of `None` goes with compaction. `shared_partitions`: the
    topic has the one partition count of all that are keyed by session, device, principal or network, so that
    what belongs together meets in one worker (murmur2). `bulk`: it comes in masses; while they are more than
    a worker can do, every other topic goes first. `pseudonyms`: names leave as pseudonyms here where the
    operators want any (`schemas.naming`). `writers` and `readers` are the roles that need to: nobody
    else gets the right (`session-risk topics acls`).
    """

    name: str
    key: str | None
    model: type[Message]
    direction: Direction
    retention_ms: int | None
    text: str
    writers: tuple[Role, ...]
    readers: tuple[Role, ...]
    shared_partitions: bool = True
    bulk: bool = False
    pseudonyms: bool = False

    @property
    def cleanup(self) -> Literal["delete", "compact"]:
        """The topic's `cleanup.policy`."""
        return "compact" if self.retention_ms is None else "delete"

    def partitions(self, shared: int) -> int:
        """The topic's partition count, where *shared* is the count the keyed topics have."""
        return shared if self.shared_partitions else 1

    @property
    def vouched(self) -> bool:
        """Whether others than this program say here whose an event is, which can be checked (`tenancy`)."""
        return self.direction in ("input", "control") and "tenant" in self.model.model_fields

    def config(self) -> dict[str, str]:
        """The topic's configuration, as Kafka's CreateTopics takes it."""
        config: dict[str, str] = {"cleanup.policy": self.cleanup}
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
            # Kafka deletes segments, and writes on into one for a week: a quiet topic would keep that longer.
            config["segment.ms"] = str(self.retention_ms // SEGMENTS)
        return config


_ROWS = (
    Topic(
        DEVICE_TELEMETRY,
        "device_id",
        events.DeviceTelemetry,
        "input",
        DAY_MS,
        "Posture, attestation and heartbeat, as an MDM, an MTD or an in-app SDK sends it.",
        writers=("device-management",),
        readers=("worker", "data-engineer"),
    ),
    Topic(
        AUTH_EVENTS,
        "session_id",
        events.AuthEvent,
        "input",
        7 * DAY_MS,
        "Sign-ins, challenges, tokens and sign-outs.",
        writers=("identity-provider",),
        readers=("worker", "transmitter", "data-engineer"),
    ),
    Topic(
        API_CALLS,
        "session_id",
        events.ApiCall,
        "input",
        7 * DAY_MS,
        "Calls made in a session, by a person, a service, an API key or an agent.",
        writers=("gateway",),
        readers=("worker", "data-engineer"),
        bulk=True,
    ),
    Topic(
        SESSION_CONTEXT,
        "session_id",
        internal.SessionContext,
        "internal",
        DAY_MS,
        "What its device, principal, lineage and network mean for a session.",
        writers=("worker",),
        readers=("worker",),
    ),
    Topic(
        SESSION_BINDINGS,
        "device_id",
        internal.SessionBinding,
        "internal",
        DAY_MS,
        "This session lives on this device, or has ended there.",
        writers=("worker",),
        readers=("worker",),
    ),
    Topic(
        PRINCIPAL_ACTIVITY,
        "principal_id",
        internal.PrincipalActivity,
        "internal",
        DAY_MS,
        "What a session reveals about its principal.",
        writers=("worker",),
        readers=("worker",),
    ),
    Topic(
        NETWORK_ACTIVITY,
        "network",
        internal.NetworkActivity,
        "internal",
        DAY_MS,
        "What attempts to authenticate reveal about the network they came from.",
        writers=("worker",),
        readers=("worker",),
    ),
    Topic(
        SESSION_RISK,
        "session_id",
        decisions.SessionRisk,
        "output",
        30 * DAY_MS,
        "Decisions, for SOC and SIEM.",
        writers=("worker",),
        readers=("soc", "transmitter"),
        pseudonyms=True,
    ),
    Topic(
        SESSION_FINDINGS,
        "unmapped.session_id",
        findings.SessionFinding,
        "output",
        30 * DAY_MS,
        "OCSF Detection Findings, one per episode, keyed by the session they are about.",
        writers=("worker",),
        readers=("soc",),
        pseudonyms=True,
    ),
    Topic(
        SESSION_REVOCATIONS,
        "session_id",
        decisions.SessionRevocation,
        "output",
        7 * DAY_MS,
        "Commands: end this session.",
        writers=("worker",),
        readers=("identity-provider", "gateway", "transmitter", "soc"),
    ),
    Topic(
        SESSION_CHALLENGES,
        "session_id",
        decisions.SessionChallenge,
        "output",
        7 * DAY_MS,
        "Commands: step this session up.",
        writers=("worker",),
        readers=("identity-provider", "gateway", "transmitter", "soc"),
    ),
    Topic(
        SESSION_FEATURES,
        "session_id",
        decisions.SessionFeatures,
        "output",
        30 * DAY_MS,
        "The vectors that were scored, for retraining.",
        writers=("worker",),
        readers=("data-engineer",),
        pseudonyms=True,
    ),
    Topic(
        SESSION_SHADOW,
        "session_id",
        decisions.SessionShadow,
        "output",
        7 * DAY_MS,
        "What a challenger would decide, beside what the champion decided.",
        writers=("worker",),
        readers=("data-engineer",),
        pseudonyms=True,
    ),
    Topic(
        SUPPRESSIONS,
        "session_id",
        decisions.Suppression,
        "output",
        30 * DAY_MS,
        "What was called a false positive and keeps quiet: since when, until when, in whose name.",
        writers=("worker",),
        readers=("soc",),
        pseudonyms=True,
    ),
    Topic(
        SESSION_FEEDBACK,
        "session_id",
        control.SessionFeedback,
        "control",
        30 * DAY_MS,
        "Verdicts of analysts and users on decisions.",
        writers=("soc",),
        readers=("worker", "data-engineer"),
    ),
    Topic(
        REVOCATION_ACKS,
        "session_id",
        control.RevocationAck,
        "control",
        7 * DAY_MS,
        "The enforcer's word on a revocation: done, failed, unknown session.",
        writers=("identity-provider", "gateway", "transmitter"),
        readers=("worker", "transmitter", "soc", "data-engineer"),
    ),
    Topic(
        MODEL_CONTROL,
        "model",
        control.ModelControl,
        "control",
        None,
        "Make this model champion or challenger, retire it, set its mode.",
        writers=("operator",),
        readers=("worker", "operator"),
        shared_partitions=False,
    ),
    Topic(
        DEAD_LETTERS,
        None,
        decisions.DeadLetter,
        "output",
        30 * DAY_MS,
        "What could not be read: original bytes, where from, why.",
        writers=("worker",),
        readers=("operator",),
        shared_partitions=False,
        pseudonyms=True,
    ),
)

TOPICS: dict[str, Topic] = {topic.name: topic for topic in _ROWS}
