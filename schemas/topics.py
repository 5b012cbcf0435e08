"""Table of all Kafka topics: their records, keys, retention, writers and readers. Faust names its changelogs."""

from dataclasses import dataclass
from typing import Literal

from schemas import control, decisions, events, findings, internal
from schemas.fields import DAY_MS, Message

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
"""Segments per retention of a topic: a record is stored for at most one segment longer than its retention."""

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
    "worker": "Joins all events and decides: `session-risk worker`.",
    "device-management": "Reports the posture of devices: an MDM, an MTD, the collector of an in-app SDK.",
    "identity-provider": "Reports sign-ins; revokes and challenges sessions, and acknowledges that.",
    "gateway": "Reports API calls; revokes and challenges sessions, and acknowledges that.",
    "transmitter": "Sends decisions and changed factors to receivers as security events; passes their "
    "acknowledgements back.",
    "soc": "Reads decisions, findings and commands, and gives verdicts: analysts, a SIEM.",
    "operator": "Chooses the model and whether commands are sent; handles dead letters.",
    "data-engineer": "Exports, replays, trains and compares; writes nothing.",
}
"""The roles of Kafka principals, and their tasks. One principal may have several roles."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its contract.

    `key` is the field, dotted if nested, whose UTF-8 bytes are the record key; `None` stands for the key of the record
    that could not be read. `retention_ms` of `None` means compaction. With `shared_partitions` the topic has the same
    partition count as all topics that are keyed by session, device, principal or network, so that related records reach
    the same worker (murmur2). `bulk` topics have most of the records: when a worker is overloaded, every other topic
    comes first. On topics with `pseudonyms`, names are replaced if pseudonyms are configured (`schemas.naming`).
    `writers` and `readers` are the roles that get the right to do so (`session-risk topics acls`).
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
    def checks_tenant(self) -> bool:
        """Whether other programs state an event's tenant here, so that it has to be checked (`schemas.tenancy`)."""
        return self.direction in ("input", "control") and "tenant" in self.model.model_fields

    def config(self) -> dict[str, str]:
        """The topic's configuration, as Kafka's CreateTopics takes it."""
        config: dict[str, str] = {"cleanup.policy": self.cleanup}
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
            # Kafka deletes whole segments and appends to one for a week: a quiet topic would store records longer.
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
        "This session is live on this device, or has ended there.",
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
        "Commands: require step-up authentication for this session.",
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
        "The decisions of a challenger, beside those of the champion.",
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
        "Suppressions after false positives: since when, until when, and who asked for them.",
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
        "Acknowledgements of revocations by enforcers: done, failed, unknown session.",
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
        "Records that could not be read: original bytes, place, and reason.",
        writers=("worker",),
        readers=("operator",),
        shared_partitions=False,
        pseudonyms=True,
    ),
)

TOPICS: dict[str, Topic] = {topic.name: topic for topic in _ROWS}
