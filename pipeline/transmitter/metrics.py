"""Every metric a transmitter shows to Prometheus: one row each, as in `pipeline.metrics.worker`."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from pipeline.metrics.metric import Metric
from pipeline.metrics.worker import ANY, LATENCY, PATIENCE
from pipeline.transmitter.protocol import EVENTS, POLL, PUSH, Method
from pipeline.transmitter.tokens.events import TOPICS

PREFIX: Final = "session_risk_transmitter_"
METHODS: Final[dict[Method, str]] = {PUSH: "push", POLL: "poll"}
EVENT_NAMES: Final = tuple(row.name for row in EVENTS.values() if not row.control)
SKIP_REASONS: Final = ("status", "event", "tenant", "excluded", "unnamed", "gone")
"""Why a stream is not told of a happening: as `wanted.SkipReason` has it; the receiver took its subject out; it
has no name there; the stream was removed or disabled meanwhile."""
OUTCOMES: Final = ("delivered", "retry", "dead", "dry_run")


class TransmitterMetrics:
    """The series of one transmitter, and the table of what they mean."""

    # What is heard, and becomes tokens.
    records = Metric(Counter, f"{PREFIX}records_total", "Records read.", {"topic": TOPICS})
    refused_records = Metric(
        Counter,
        f"{PREFIX}refused_records_total",
        "Records that could not be read; the log says where they are and why.",
        {"topic": TOPICS},
    )
    behind = Metric(Gauge, f"{PREFIX}behind_records", "Records not read yet.", {"topic": ANY, "partition": ANY})
    happenings = Metric(
        Counter,
        f"{PREFIX}happenings_total",
        "What records said, before any stream is asked.",
        {"event": EVENT_NAMES},
    )
    tokens = Metric(Counter, f"{PREFIX}tokens_total", "Tokens signed and put into queues.", {"event": EVENT_NAMES})
    untold = Metric(
        Counter,
        f"{PREFIX}untold_total",
        "Happenings a stream was not told of: it is disabled, did not ask for such an event, is another "
        "tenant's, its receiver took the subject out, the subject has no name there, or it went meanwhile.",
        {"reason": SKIP_REASONS},
    )

    # What becomes of commands.
    commands = Metric(
        Counter,
        f"{PREFIX}commands_total",
        "Commands to end a session, by what was heard of them; `seen` was heard before, `foreign` is a word "
        "that names another session or tenant.",
        {"state": ("opened", "resent", "confirmed", "failed", "overdue", "seen", "foreign")},
    )
    confirmations = Metric(
        Counter,
        f"{PREFIX}confirmations_total",
        "Commands confirmed, by whether that was in time (SESSION_RISK_TRANSMITTER_CONFIRM_WITHIN_S).",
        {"in_time": ("yes", "no")},
    )
    confirmation_seconds = Metric(
        Histogram,
        f"{PREFIX}confirmation_seconds",
        "From a decision to revoke to the enforcer's word that it is done.",
        {},
        PATIENCE,
    )

    # How tokens leave.
    deliveries = Metric(
        Counter,
        f"{PREFIX}deliveries_total",
        "Tries to hand a token over, by what came of each; what is retried is tried again.",
        {"method": tuple(METHODS.values()), "outcome": OUTCOMES},
    )
    dead_letters = Metric(Counter, f"{PREFIX}dead_letters_total", "Tokens given up, by the last error.", {"error": ANY})
    odd_answers = Metric(
        Counter, f"{PREFIX}odd_answers_total", "Pushes taken with another status than 202.", {"status": ANY}
    )
    push_seconds = Metric(
        Histogram, f"{PREFIX}push_seconds", "From a push to its answer, or to giving up on one.", {}, LATENCY
    )
    first_push_seconds = Metric(
        Histogram, f"{PREFIX}first_push_seconds", "From a token in the queue to its first push.", {}, LATENCY
    )

    # What waits.
    waiting = Metric(Gauge, f"{PREFIX}waiting_tokens", "Tokens in the queues.", {"method": tuple(METHODS.values())})
    oldest = Metric(
        Gauge,
        f"{PREFIX}oldest_token_seconds",
        "Age of the oldest token that waits.",
        {"method": tuple(METHODS.values())},
    )
    streams = Metric(
        Gauge,
        f"{PREFIX}streams",
        "Streams, by method and status.",
        {"method": tuple(METHODS.values()), "status": ("enabled", "paused", "disabled")},
    )
    stopped_streams = Metric(
        Counter,
        f"{PREFIX}stopped_streams_total",
        "Streams whose status the transmitter changed, as nobody took what they hold.",
        {"status": ("paused", "disabled")},
    )
    down_seconds = Metric(
        Gauge,
        f"{PREFIX}down_seconds",
        "How long a receiver that something is to be pushed to has been down; the longest, 0 if none is.",
        {},
    )

    # Who works.
    leads = Metric(Gauge, f"{PREFIX}leads", "1 while this one reads and delivers, 0 while it stands by.", {})

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series = {name: metric.create(registry) for name, metric in METRICS.items()}


METRICS: Final[dict[str, Metric[MetricWrapperBase]]] = {
    row.name: row for row in vars(TransmitterMetrics).values() if isinstance(row, Metric)
}
"""The whole table by exposed name, in reading order."""
