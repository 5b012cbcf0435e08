"""Every metric the worker shows to Prometheus: one row each, and nothing is counted that has no row.

A row is also the way in: ``metrics.events.labels(topic).inc()``. A misspelt row fails mypy, a wrong label
fails at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.metrics import MetricWrapperBase

from models.detectors.drift import Drift
from pipeline.metrics.metric import Metric
from pipeline.processing.observer import Work
from pipeline.processing.processor import Message
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS

PREFIX: Final = "session_risk_"

LATENCY: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds; from the best case of a loopback broker to what nobody should ever see."""

PATIENCE: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Seconds; from an enforcer that answers at once to one that was repaired by hand."""

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
"""Records in a chunk."""

ANY: Final[tuple[str, ...]] = ()
LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
ACTIONS: Final = ("allow", "step_up", "revoke")
VERDICTS: Final = (
    "true_positive", "false_positive", "benign_true_positive", "unsure", "confirmed_compromised",
)  # fmt: skip
REVOCATION: Final = ("sent", "held", "resent", "unconfirmed", "acknowledged", "failed")


def _counter(name: str, help_: str, **labels: tuple[str, ...]) -> Metric[Counter]:
    return Metric(Counter, f"{PREFIX}{name}", help_, labels)


def _gauge(name: str, help_: str, **labels: tuple[str, ...]) -> Metric[Gauge]:
    return Metric(Gauge, f"{PREFIX}{name}", help_, labels)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> Metric[Histogram]:
    return Metric(Histogram, f"{PREFIX}{name}", help_, labels, buckets)


class Metrics:
    """The series of one worker, and the table of what they mean."""

    # What comes in.
    events = _counter("events_total", "Events applied.", topic=ANY)
    dead_letters = _counter("dead_letters_total", "Records that could not be read, by reason.", reason=ANY)
    mended = _counter(
        "mended_members_total",
        "Members of events that broke the contract and were cut, read as meant or left out.",
        topic=ANY,
        member=ANY,
    )
    late_events = _counter("late_events_total", "Events older than the allowed lateness.", topic=ANY)
    duplicates = _counter("duplicate_events_total", "Events seen before and not applied again.", topic=ANY)
    unscored_events = _counter(
        "unscored_events_total",
        "Events applied whose session the model passed over, as the worker was too far behind.",
        topic=ANY,
    )

    # What is decided.
    decisions = _counter("decisions_total", "Decisions published.", level=LEVELS, action=ACTIONS)
    suppressed = _counter("suppressed_decisions_total", "Actions decided, not commanded, and why.", reason=ANY)
    feedback = _counter("feedback_total", "Verdicts of people on sessions.", verdict=VERDICTS)
    suppressions = _counter(
        "suppressions_total",
        "Detections called false positives of a principal, by what became of it.",
        state=("created", "refused", "expired"),
    )
    findings = _counter("findings_total", "Findings published.", activity=("create", "update", "close"))
    revocations = _counter("revocations_total", "Revocations, by what became of them.", state=REVOCATION)
    challenges = _counter("challenges_total", "Step-up challenges.", state=("sent", "passed", "missed"))
    event_to_command_seconds = _histogram(
        "event_to_command_seconds",
        "From the record of the causing event to the broker's acknowledgement of the command.",
        LATENCY,
    )

    confirmation_seconds = _histogram("confirmation_seconds", "From revocation to confirmation.", PATIENCE)

    # How the work goes.
    chunk_seconds = _histogram("chunk_seconds", "From a chunk's arrival to its end.", LATENCY, stage=ANY)
    chunk_records = _histogram("chunk_records", "Records in a chunk.", SIZES, stage=ANY)
    lag_seconds = _gauge("lag_seconds", "Age of the last record applied; 0 at the end.", topic=ANY, partition=ANY)
    heartbeat = _gauge("heartbeat_timestamp_seconds", "When the worker's event loop last turned (Unix time).")

    # What is held.
    live_sessions = _gauge("live_sessions", "Sessions with a row of state.", partition=ANY)
    state_bytes = _gauge("state_bytes", "Memory held by the state of a stage.", stage=ANY, partition=ANY)
    evicted_sessions = _counter("evicted_sessions_total", "Live sessions dropped: their partition was full.")
    evicted_records = _counter(
        "evicted_records_total", "Devices, principals and networks forgotten early: their partition was full."
    )
    forgotten_sessions = _counter(
        "forgotten_sessions_total",
        "Live sessions too many for their device or principal to remember: the longest bound go.",
        by=("device", "principal"),
    )
    forgotten_children = _counter(
        "forgotten_children_total", "Children too many for their parent to remember: its fall will miss them."
    )
    recovering = _gauge("recovering_partitions", "Partitions whose state is being read back.", stage=ANY)
    recovery_rows = _counter("recovery_rows_total", "Changelog rows read back.", stage=ANY)

    # What decides.
    guard_state = _gauge("guard_state", "0 normal, 1 holding revocations, 2 the fleet is silent.", partition=ANY)
    model_info = _gauge("model_info", "1 for each model in use: champion or challenger.", model=ANY, role=ANY)
    drift_psi = _gauge(
        "drift_psi",
        "Population stability index of a feature, or the score, over the last 24 hours of events against the "
        "training data: from 0.1 it has moved, from 0.25 far. Absent while there are too few rows.",
        feature=ANY,
    )
    drift_rows = _gauge("drift_rows", "Vectors drawn for it since the champion began to decide here.")
    model_refused = _gauge("model_refused", "1 for each model that was ordered and cannot be loaded here.", model=ANY)
    challenger_vectors = _counter(
        "challenger_vectors_total",
        "Vectors that a challenger scored too, by the champion's band and its own.",
        model=ANY,
        champion=ANY,
        challenger=ANY,
    )
    challenger_differences = _counter(
        "challenger_differences_total", "Times a challenger's level was told to be another.", model=ANY
    )
    policy_refused = _gauge(
        "policy_refused", "1 while the policy file cannot be used and an older policy is in force; else 0."
    )
    policy_info = _gauge("policy_info", "1 for the policy in force, and its mode.", policy=ANY, mode=ANY)

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series = {name: metric.create(registry) for name, metric in METRICS.items()}

    def count(self, field: str, *labels: str, by: float = 1) -> None:
        """Count *by* on the counter that has the name *field* here, as stages ask for it."""
        counter: Counter = getattr(self, field)
        (counter.labels(*labels) if labels else counter).inc(by)

    def watch_sessions(
        self, partition: int, live: Callable[[], float], held: Callable[[], float], guard: Callable[[], float]
    ) -> None:
        """Ask at every scrape, from its thread, for a partition's live sessions, bytes and guard state."""
        self.live_sessions.labels(partition).set_function(live)
        self.state_bytes.labels("session", partition).set_function(held)
        self.guard_state.labels(partition).set_function(guard)

    def forget_partition(self, partition: int) -> None:
        """Show nothing more about *partition*: another worker has it."""
        for row in METRICS.values():
            if row.kind is Gauge and "partition" in row.labels:
                self.series[row.name].remove_by_labels({"partition": str(partition)})

    def show_models(self, champion: str | None, challengers: Iterable[str] = (), refused: Iterable[str] = ()) -> None:
        """Show which models are in use, which were *refused*, and no other."""
        self.model_refused.clear()
        for model in refused:
            self.model_refused.labels(model).set(1)
        self.model_info.clear()
        if champion is not None:
            self.model_info.labels(champion, "champion").set(1)
        for challenger in challengers:
            self.model_info.labels(challenger, "challenger").set(1)

    def show_drift(self, rows: int, drift: Iterable[Drift]) -> None:
        """Show how far what is scored has moved, of *rows* vectors; nothing where that may be chance."""
        self.drift_rows.set(rows)
        for this_drift in drift:
            if this_drift.verdict == "too few rows":
                self.drift_psi.remove_by_labels({"feature": this_drift.name})
            else:
                self.drift_psi.labels(this_drift.name).set(this_drift.psi)

    def show_policy(self, policy: str, mode: str, *, refused: bool = False) -> None:
        """Show which policy is in force, and no other; and whether what its file says now was *refused*."""
        self.policy_refused.set(refused)
        self.policy_info.clear()
        self.policy_info.labels(policy, mode).set(1)


METRICS: Final[dict[str, Metric[MetricWrapperBase]]] = {
    row.name: row for row in vars(Metrics).values() if isinstance(row, Metric)
}
"""The whole table by exposed name, in reading order."""


class Watch:
    """Turns what the edge lets see (`pipeline.processing.observer.Observer`) into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._recovering: set[tuple[str, int]] = set()

    def done(self, work: Work) -> None:
        metrics, outcome = self.metrics, work.outcome
        if work.topic is not None:
            metrics.events.labels(work.topic).inc(outcome.events)
            metrics.chunk_seconds.labels(work.kind).observe(work.seconds)
            metrics.chunk_records.labels(work.kind).observe(work.records)
        for reason, number in outcome.dead_letters.items():
            metrics.dead_letters.labels(reason).inc(number)
        for (field, *labels), number in outcome.counts.items():
            metrics.count(field, *labels, by=number)
        for field, seconds in outcome.times:
            getattr(metrics, field).observe(seconds)

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        took = max(0.0, (acked_ms - newest_ms) / 1000)
        for message in messages:
            if message.topic in (SESSION_REVOCATIONS, SESSION_CHALLENGES):
                self.metrics.event_to_command_seconds.observe(took)

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        self.metrics.lag_seconds.labels(topic, partition).set(seconds)

    def restoring(self, kind: str, partition: int, rows: int) -> None:
        self.metrics.recovery_rows.labels(kind).inc(rows)
        self._recovering.add((kind, partition))
        self._count_recovering(kind)

    def ready(self, kind: str, partition: int) -> None:
        self._recovering.discard((kind, partition))
        self._count_recovering(kind)

    def closed(self, kind: str, partition: int) -> None:
        self.ready(kind, partition)
        self.metrics.forget_partition(partition)

    def loop_turned(self) -> None:
        self.metrics.heartbeat.set_to_current_time()

    def _count_recovering(self, kind: str) -> None:
        self.metrics.recovering.labels(kind).set(sum(name == kind for name, _ in self._recovering))


def serve(
    registry: CollectorRegistry, host: str, port: int, setting: str = "SESSION_RISK_METRICS_PORT"
) -> Callable[[], None]:
    """Answer scrapes of *registry* and of the process's own figures from a thread; call the result to stop.

    Raises `OSError` that names *setting* where the address cannot be had.
    """
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        why = f"metrics cannot listen on {host}:{port} ({error.strerror}); set {setting}"
        raise OSError(error.errno, why) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def markdown(rows: Iterable[Metric[MetricWrapperBase]] = METRICS.values()) -> str:
    """Return the table of *rows*, of all of a worker's metrics, as it stands in the runbook."""
    lines = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for row in rows:
        labels = ", ".join(_label(*label) for label in row.labels.items()) or "–"
        lines.append(f"| `{row.name}` | {row.type} | {labels} | {row.help} |")
    return "\n".join(lines) + "\n"


def _label(name: str, values: tuple[str, ...]) -> str:
    return f"`{name}`" + (f" ({', '.join(values)})" if values else "")
