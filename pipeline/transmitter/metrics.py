"""Prometheus metrics of a transmitter, one row each, as in `pipeline.metrics.worker`."""

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
"""Why a stream gets no token of an event: the reasons of `stream_filter.SkipReason`; the receiver removed the subject;
the subject has no identifier there; the stream was removed or disabled meanwhile.
"""
OUTCOMES: Final = ("delivered", "retry", "dead", "dry_run")


class TransmitterMetrics:
    """The metric series of one transmitter, and the table of what they mean."""

    # What is read and becomes tokens.
    records = Metric(Counter, f"{PREFIX}records_total", "Records read.", {"topic": TOPICS})
    refused_records = Metric(
        Counter,
        f"{PREFIX}refused_records_total",
        "Records that could not be decoded; the log names each one and the reason.",
        {"topic": TOPICS},
    )
    behind = Metric(
        Gauge, f"{PREFIX}behind_records", "Records not read yet (consumer lag).", {"topic": ANY, "partition": ANY}
    )
    events = Metric(
        Counter,
        f"{PREFIX}security_events_total",
        "Security events that records contained, before they are matched with streams.",
        {"event": EVENT_NAMES},
    )
    tokens = Metric(Counter, f"{PREFIX}tokens_total", "Tokens signed and put into queues.", {"event": EVENT_NAMES})
    skipped = Metric(
        Counter,
        f"{PREFIX}skipped_events_total",
        "Events for which a stream got no token: it is disabled, did not request such events, belongs to another "
        "tenant, its receiver removed the subject, the subject has no identifier there, or it was removed meanwhile.",
        {"reason": SKIP_REASONS},
    )

    # The state of revocation commands.
    commands = Metric(
        Counter,
        f"{PREFIX}commands_total",
        "Revocation commands and acknowledgements by what they changed; `seen` was read before, `foreign` is an "
        "acknowledgement that names another session or tenant.",
        {"state": ("opened", "resent", "confirmed", "failed", "overdue", "seen", "foreign")},
    )
    confirmations = Metric(
        Counter,
        f"{PREFIX}confirmations_total",
        "Revocations confirmed, by whether in time (SESSION_RISK_TRANSMITTER_CONFIRM_WITHIN_S).",
        {"in_time": ("yes", "no")},
    )
    confirmation_seconds = Metric(
        Histogram,
        f"{PREFIX}confirmation_seconds",
        "From a decision to revoke to the enforcer's acknowledgement that the session is revoked.",
        {},
        PATIENCE,
    )

    # How tokens are delivered.
    deliveries = Metric(
        Counter,
        f"{PREFIX}deliveries_total",
        "Delivery attempts by outcome; after `retry` the token is sent again.",
        {"method": tuple(METHODS.values()), "outcome": OUTCOMES},
    )
    dead_letters = Metric(
        Counter, f"{PREFIX}dead_letters_total", "Tokens that became dead letters, by their last error.", {"error": ANY}
    )
    unexpected_statuses = Metric(
        Counter,
        f"{PREFIX}unexpected_statuses_total",
        "Pushes that were accepted with a status other than 202.",
        {"status": ANY},
    )
    push_seconds = Metric(
        Histogram, f"{PREFIX}push_seconds", "From a push to its response, or to its failure.", {}, LATENCY
    )
    first_push_seconds = Metric(
        Histogram, f"{PREFIX}first_push_seconds", "From queueing a token to its first push.", {}, LATENCY
    )

    # What is queued.
    waiting = Metric(
        Gauge, f"{PREFIX}waiting_tokens", "Tokens waiting in the queues.", {"method": tuple(METHODS.values())}
    )
    oldest = Metric(
        Gauge,
        f"{PREFIX}oldest_token_seconds",
        "Age of the oldest waiting token.",
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
        "Streams whose status the transmitter changed because their receiver took no tokens.",
        {"status": ("paused", "disabled")},
    )
    down_seconds = Metric(
        Gauge,
        f"{PREFIX}down_seconds",
        "Longest time that a receiver with waiting pushes has been down; 0 if none is.",
        {},
    )

    # Which transmitter leads.
    leads = Metric(
        Gauge, f"{PREFIX}leads", "1 while this transmitter leads (reads and delivers), 0 while it stands by.", {}
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series = {name: metric.create(registry) for name, metric in METRICS.items()}


METRICS: Final[dict[str, Metric[MetricWrapperBase]]] = {
    row.name: row for row in vars(TransmitterMetrics).values() if isinstance(row, Metric)
}
"""The whole table by exposed name, in reading order."""
