"""Every metric a transmitter shows to Prometheus: one row each, as in `pipeline.metrics`."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from pipeline.metric import Metric
from pipeline.metrics import ANY, LATENCY
from pipeline.transmitter.vocabulary import POLL, PUSH, Method

PREFIX: Final = "session_risk_transmitter_"
METHODS: Final[dict[Method, str]] = {PUSH: "push", POLL: "poll"}
OUTCOMES: Final = ("delivered", "retry", "dead", "dry_run")


class TransmitterMetrics:
    """The series of one transmitter, and the table of what they mean."""

    # How tokens leave.
    deliveries = Metric(
        Counter, f"{PREFIX}deliveries_total",
        "Tries to hand a token over, by what came of each; what is retried is tried again.",
        {"method": tuple(METHODS.values()), "outcome": OUTCOMES},
    )  # fmt: skip
    dead_letters = Metric(
        Counter, f"{PREFIX}dead_letters_total", "Tokens given up, by the last error.", {"error": ANY}
    )
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
    waiting = Metric(
        Gauge, f"{PREFIX}waiting_tokens", "Tokens in the queues.", {"method": tuple(METHODS.values())}
    )
    oldest = Metric(
        Gauge, f"{PREFIX}oldest_token_seconds", "Age of the oldest token that waits.",
        {"method": tuple(METHODS.values())},
    )  # fmt: skip
    streams = Metric(
        Gauge, f"{PREFIX}streams", "Streams, by method and status.",
        {"method": tuple(METHODS.values()), "status": ("enabled", "paused", "disabled")},
    )  # fmt: skip
    stopped_streams = Metric(
        Counter, f"{PREFIX}stopped_streams_total",
        "Streams whose status the transmitter changed, as nobody took what they hold.",
        {"status": ("paused", "disabled")},
    )  # fmt: skip

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series = {name: metric.create(registry) for name, metric in METRICS.items()}


METRICS: Final[dict[str, Metric[MetricWrapperBase]]] = {
    row.name: row for row in vars(TransmitterMetrics).values() if isinstance(row, Metric)
}
"""The whole table by exposed name, in reading order."""
