"""The table of all metrics a worker exports to Prometheus, and the observer that counts them.

Code reaches a metric through its row: ``metrics.events.labels(topic).inc()``. mypy rejects a misspelt row, and
a wrong label raises at once.
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
"""Upper bounds in seconds, from the best case of a broker on the same host to what nobody should ever see."""

PATIENCE: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds in seconds, from an enforcement point that acknowledges at once to one repaired by hand."""

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
"""Records in a chunk."""

ANY: Final[tuple[str, ...]] = ()
"""Marks a label whose values are not known beforehand."""
LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
ACTIONS: Final = ("allow", "step_up", "hold_for_approval", "revoke")
VERDICTS: Final = ("true_positive", "false_positive", "benign_true_positive", "unsure", "confirmed_compromised")
REVOCATION: Final = ("sent", "held", "resent", "unconfirmed", "acknowledged", "failed")

Labels = dict[str, tuple[str, ...]]


def _counter(*, name: str, help: str, labels: Labels | None = None, replaced_by: str = "") -> Metric[Counter]:  # noqa: A002
    return Metric(Counter, f"{PREFIX}{name}", help, labels or {}, replaced_by=replaced_by)


def _gauge(*, name: str, help: str, labels: Labels | None = None) -> Metric[Gauge]:  # noqa: A002
    return Metric(Gauge, f"{PREFIX}{name}", help, labels or {})


def _histogram(
    *,
    name: str,
    help: str,  # noqa: A002
    buckets: tuple[float, ...],
    labels: Labels | None = None,
) -> Metric[Histogram]:
    return Metric(Histogram, f"{PREFIX}{name}", help, labels or {}, buckets)


class Metrics:
    """The series of one worker, and the table of what they mean."""

    # Input.
    events = _counter(
        name="events_total",
        help="Events applied to state.",
        labels={"topic": ANY},
    )
    dead_letters = _counter(
        name="dead_letters_total",
        help="Records that could not be decoded, by reason.",
        labels={"reason": ANY},
    )
    repaired_fields = _counter(
        name="repaired_fields_total",
        help="Fields that broke the contract and were shortened, converted or left out; their event was applied.",
        labels={"topic": ANY, "field": ANY},
    )
    mended_members = _counter(
        name="mended_members_total",
        help="Old name of `session_risk_repaired_fields_total`, exported for one release.",
        labels={"topic": ANY, "member": ANY},
        replaced_by="repaired_fields",
    )
    late_events = _counter(
        name="late_events_total",
        help="Events older than the allowed lateness.",
        labels={"topic": ANY},
    )
    duplicates = _counter(
        name="duplicate_events_total",
        help="Events already applied once, and ignored the second time.",
        labels={"topic": ANY},
    )
    unscored_events = _counter(
        name="unscored_events_total",
        help="Events applied without a model score, because the worker was too far behind.",
        labels={"topic": ANY},
    )

    # Decisions.
    decisions = _counter(
        name="decisions_total",
        help="Decisions published.",
        labels={"level": LEVELS, "action": ACTIONS},
    )
    suppressed = _counter(
        name="suppressed_decisions_total",
        help="Decisions whose action was not commanded, by reason.",
        labels={"reason": ANY},
    )
    feedback = _counter(
        name="feedback_total",
        help="Verdicts of analysts on sessions.",
        labels={"verdict": VERDICTS},
    )
    suppressions = _counter(
        name="suppressions_total",
        help="Suppressions of a detection for one principal after a false positive: created, refused or expired.",
        labels={"state": ("created", "refused", "expired")},
    )
    findings = _counter(
        name="findings_total",
        help="OCSF findings published.",
        labels={"activity": ("create", "update", "close")},
    )
    revocations = _counter(
        name="revocations_total",
        help="Revocation commands, by state.",
        labels={"state": REVOCATION},
    )
    refuted_step_ups = _counter(
        name="refuted_step_ups_total",
        help="Step-ups that rested on suspicion and were passed: the suspicion was wrong.",
    )
    challenges = _counter(
        name="challenges_total",
        help="Step-up challenges, by state.",
        labels={"state": ("sent", "passed", "missed")},
    )
    event_to_command_seconds = _histogram(
        name="event_to_command_seconds",
        help="Time from the record of the causing event to the broker's acknowledgement of the command.",
        buckets=LATENCY,
    )
    confirmation_seconds = _histogram(
        name="confirmation_seconds",
        help="Time from a revocation command to the enforcement point's acknowledgement.",
        buckets=PATIENCE,
    )

    # Processing.
    chunk_seconds = _histogram(
        name="chunk_seconds",
        help="Time from a chunk's arrival to its acknowledgement.",
        labels={"stage": ANY},
        buckets=LATENCY,
    )
    chunk_records = _histogram(
        name="chunk_records",
        help="Records in a chunk.",
        labels={"stage": ANY},
        buckets=SIZES,
    )
    lag_seconds = _gauge(
        name="lag_seconds",
        help="Age of the last record applied; 0 when there is nothing left to read.",
        labels={"topic": ANY, "partition": ANY},
    )
    heartbeat = _gauge(
        name="heartbeat_timestamp_seconds",
        help="Unix time at which the worker's event loop last ran.",
    )

    # State.
    live_sessions = _gauge(
        name="live_sessions",
        help="Sessions with a row of state.",
        labels={"partition": ANY},
    )
    state_bytes = _gauge(
        name="state_bytes",
        help="Memory held by the state of a processor.",
        labels={"stage": ANY, "partition": ANY},
    )
    evicted_sessions = _counter(
        name="evicted_sessions_total",
        help="Live sessions evicted because their partition was full.",
    )
    evicted_records = _counter(
        name="evicted_records_total",
        help="Devices, principals and networks evicted because their partition was full.",
    )
    forgotten_sessions = _counter(
        name="forgotten_sessions_total",
        help="Live sessions dropped from the list of their device or principal because the list was full; "
        "those bound first go first.",
        labels={"by": ("device", "principal")},
    )
    forgotten_children = _counter(
        name="forgotten_children_total",
        help="Child sessions dropped from their parent's list because it was full; "
        "a revocation of the parent does not reach them.",
    )
    recovering = _gauge(
        name="recovering_partitions",
        help="Partitions whose state is being restored.",
        labels={"stage": ANY},
    )
    recovery_rows = _counter(
        name="recovery_rows_total",
        help="Changelog rows restored.",
        labels={"stage": ANY},
    )

    # Policy, model and guard.
    guard_state = _gauge(
        name="guard_state",
        help="0: normal; 1: holding revocations; 2: the fleet is silent.",
        labels={"partition": ANY},
    )
    model_info = _gauge(
        name="model_info",
        help="1 for each model in use, champion or challenger.",
        labels={"model": ANY, "role": ANY},
    )
    drift_psi = _gauge(
        name="drift_psi",
        help="Population stability index of a feature, or of the score: the last 24 hours of events against the "
        "training data. From 0.1 it has moved, from 0.25 far. Absent while there are too few rows.",
        labels={"feature": ANY},
    )
    drift_rows = _gauge(
        name="drift_rows",
        help="Feature vectors sampled for the drift index since the champion took over in this worker.",
    )
    model_refused = _gauge(
        name="model_refused",
        help="1 for each model that was ordered and cannot be loaded by this worker.",
        labels={"model": ANY},
    )
    challenger_vectors = _counter(
        name="challenger_vectors_total",
        help="Feature vectors that a challenger scored too, by the champion's band and its own.",
        labels={"model": ANY, "champion": ANY, "challenger": ANY},
    )
    challenger_differences = _counter(
        name="challenger_differences_total",
        help="Times a challenger's level differed from the champion's and this was published.",
        labels={"model": ANY},
    )
    policy_refused = _gauge(
        name="policy_refused",
        help="1 while the policy file cannot be used and the policy before it stays in force; else 0.",
    )
    policy_info = _gauge(
        name="policy_info",
        help="1 for the policy in force, with its mode.",
        labels={"policy": ANY, "mode": ANY},
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series = {name: metric.create(registry) for name, metric in METRICS.items()}

    def count(self, field: str, *labels: str, by: float = 1) -> None:
        """Count *by* on the counter that has the name *field* in this class, and on the old name of that counter."""
        for attribute in (field, *_OLD_NAMES.get(field, ())):
            counter: Counter = getattr(self, attribute)
            (counter.labels(*labels) if labels else counter).inc(by)

    def watch_sessions(
        self, partition: int, live: Callable[[], float], held: Callable[[], float], guard: Callable[[], float]
    ) -> None:
        """Call *live*, *held* (bytes) and *guard* for *partition* at every scrape, from the scrape's thread."""
        self.live_sessions.labels(partition).set_function(live)
        self.state_bytes.labels("session", partition).set_function(held)
        self.guard_state.labels(partition).set_function(guard)

    def forget_partition(self, partition: int) -> None:
        """Remove the gauges of *partition*, which another worker owns now."""
        for row in METRICS.values():
            if row.kind is Gauge and "partition" in row.labels:
                self.series[row.name].remove_by_labels({"partition": str(partition)})

    def show_models(self, champion: str | None, challengers: Iterable[str] = (), refused: Iterable[str] = ()) -> None:
        """Export exactly these models: the *champion*, its *challengers*, and those that were *refused*."""
        self.model_refused.clear()
        for model in refused:
            self.model_refused.labels(model).set(1)
        self.model_info.clear()
        if champion is not None:
            self.model_info.labels(champion, "champion").set(1)
        for challenger in challengers:
            self.model_info.labels(challenger, "challenger").set(1)

    def show_drift(self, rows: int, drift: Iterable[Drift]) -> None:
        """Export the *drift* of each feature over *rows* vectors; features with too few rows are left out."""
        self.drift_rows.set(rows)
        for feature in drift:
            if feature.verdict == "too few rows":
                self.drift_psi.remove_by_labels({"feature": feature.name})
            else:
                self.drift_psi.labels(feature.name).set(feature.psi)

    def show_policy(self, policy: str, mode: str, *, refused: bool = False) -> None:
        """Export the policy in force, and whether the present content of its file was *refused*."""
        self.policy_refused.set(refused)
        self.policy_info.clear()
        self.policy_info.labels(policy, mode).set(1)


METRICS: Final[dict[str, Metric[MetricWrapperBase]]] = {
    row.name: row for row in vars(Metrics).values() if isinstance(row, Metric)
}
"""The whole table by exposed name, in reading order."""

_OLD_NAMES: Final[dict[str, tuple[str, ...]]] = {
    row.replaced_by: (attribute,)
    for attribute, row in vars(Metrics).items()
    if isinstance(row, Metric) and row.replaced_by
}


class CountingObserver:
    """Observer of the Kafka layer (`pipeline.processing.observer.Observer`) that counts what happens as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._recovering: set[tuple[str, int]] = set()

    def done(self, work: Work) -> None:
        metrics, outcome = self.metrics, work.outcome
        if work.topic is not None:
            metrics.events.labels(work.topic).inc(outcome.events)
            metrics.chunk_seconds.labels(work.processor_name).observe(work.seconds)
            metrics.chunk_records.labels(work.processor_name).observe(work.records)
        for reason, number in outcome.dead_letters.items():
            metrics.dead_letters.labels(reason).inc(number)
        for (field, *labels), number in outcome.counts.items():
            metrics.count(field, *labels, by=number)
        for field, seconds in outcome.times:
            getattr(metrics, field).observe(seconds)

    def sent(self, processor_name: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        took = max(0.0, (acked_ms - newest_ms) / 1000)
        for message in messages:
            if message.topic in (SESSION_REVOCATIONS, SESSION_CHALLENGES):
                self.metrics.event_to_command_seconds.observe(took)

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        self.metrics.lag_seconds.labels(topic, partition).set(seconds)

    def restoring(self, processor_name: str, partition: int, rows: int) -> None:
        self.metrics.recovery_rows.labels(processor_name).inc(rows)
        self._recovering.add((processor_name, partition))
        self._count_recovering(processor_name)

    def ready(self, processor_name: str, partition: int) -> None:
        self._recovering.discard((processor_name, partition))
        self._count_recovering(processor_name)

    def closed(self, processor_name: str, partition: int) -> None:
        self.ready(processor_name, partition)
        self.metrics.forget_partition(partition)

    def loop_turned(self) -> None:
        self.metrics.heartbeat.set_to_current_time()

    def _count_recovering(self, processor_name: str) -> None:
        self.metrics.recovering.labels(processor_name).set(sum(name == processor_name for name, _ in self._recovering))


def serve(
    registry: CollectorRegistry, host: str, port: int, setting: str = "SESSION_RISK_METRICS_PORT"
) -> Callable[[], None]:
    """Serve *registry* and the metrics of the process over HTTP from a thread; call the returned function to stop.

    Raises `OSError`, which names *setting*, when the address is not available.
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
    """Return *rows* (by default all metrics of a worker) as the table that the runbook has."""
    lines = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for row in rows:
        labels = ", ".join(_label(*label) for label in row.labels.items()) or "–"
        lines.append(f"| `{row.name}` | {row.type} | {labels} | {row.help} |")
    return "\n".join(lines) + "\n"


def _label(name: str, values: tuple[str, ...]) -> str:
    return f"`{name}`" + (f" ({', '.join(values)})" if values else "")
