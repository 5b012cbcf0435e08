"""Every metric has its row, its name follows Prometheus' manners, and a scrape shows what was counted."""

import re
import socket
from pathlib import Path
from time import time
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics.metric import Metric
from pipeline.metrics.worker import METRICS, PREFIX, CountingObserver, Metrics, markdown, serve
from pipeline.processing.observer import Observer, Work
from pipeline.processing.processor import Message, Outcome

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def test_a_metric_that_is_counted_is_exposed_under_the_name_in_the_table(metrics: Metrics) -> None:
    for attribute, row in vars(Metrics).items():
        if row in METRICS.values():
            series = getattr(metrics, attribute)
            if row.labels:
                series = series.labels(*("x" for _ in row.labels))
            getattr(series, {"counter": "inc", "gauge": "inc", "histogram": "observe"}[row.type])(1)

    text = generate_latest(metrics.registry).decode()

    samples = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    promised = {name for row in METRICS.values() for name in row.exposed()}
    assert {name for name in samples if not name.endswith("_created")} == promised


def test_a_name_tells_its_unit_and_kind() -> None:
    for row in METRICS.values():
        assert re.fullmatch(PREFIX + r"[a-z]+(_[a-z]+)*", row.name)
        assert row.name.endswith("_total") == (row.type == "counter"), row.name
        assert row.help.endswith("."), row.name
        assert row.buckets == tuple(sorted(row.buckets)), row.name
        assert bool(row.buckets) == (row.kind is Histogram), row.name


def test_latency_is_measured_from_a_millisecond_on() -> None:
    assert METRICS["session_risk_event_to_command_seconds"].buckets[0] == 0.001


def test_a_series_whose_labels_are_known_stands_at_0_before_the_first_count(metrics: Metrics) -> None:
    states = ("sent", "held", "resent", "acknowledged", "failed")

    values = [metrics.registry.get_sample_value("session_risk_revocations_total", {"state": s}) for s in states]

    assert values == [0, 0, 0, 0, 0]


def test_two_workers_in_one_process_do_not_share_their_series(metrics: Metrics) -> None:
    other = Metrics(CollectorRegistry())

    metrics.events.labels("api-calls").inc(3)

    assert metrics.registry.get_sample_value("session_risk_events_total", {"topic": "api-calls"}) == 3
    assert other.registry.get_sample_value("session_risk_events_total", {"topic": "api-calls"}) is None


def test_a_misspelt_metric_and_a_wrong_label_fail_at_once(metrics: Metrics) -> None:
    with pytest.raises(AttributeError, match="evnts"):
        getattr(metrics, "evnts")  # noqa: B009 -- mypy refuses the plain spelling
    with pytest.raises(ValueError, match="label"):
        metrics.events.labels(topc="api-calls")


def test_what_the_edge_sees_is_counted(metrics: Metrics) -> None:
    watch: Observer = CountingObserver(metrics)
    counts = {("decisions", "HIGH", "revoke"): 1, ("revocations", "sent"): 1, ("evicted_sessions",): 2}
    outcome = Outcome(events=5, dead_letters={"not JSON": 1}, counts=counts)
    revocation = Message("session-revocations", b"s", b"{}")

    watch.done(Work("session", 3, "api-calls", 6, 0.004, outcome))
    watch.sent("session", [revocation, Message("session-risk", b"s", b"{}")], newest_ms=1_000, acked_ms=1_020)
    watch.lag("api-calls", 3, 1.5)

    assert _values(metrics) == {
        ("session_risk_events_total", "api-calls"): 5,
        ("session_risk_dead_letters_total", "not JSON"): 1,
        ("session_risk_decisions_total", "HIGH", "revoke"): 1,
        ("session_risk_revocations_total", "sent"): 1,
        ("session_risk_evicted_sessions_total",): 2,
        ("session_risk_chunk_seconds_count", "session"): 1,
        ("session_risk_chunk_seconds_sum", "session"): 0.004,
        ("session_risk_chunk_records_count", "session"): 1,
        ("session_risk_chunk_records_sum", "session"): 6,
        ("session_risk_event_to_command_seconds_count",): 1,
        ("session_risk_event_to_command_seconds_sum",): 0.02,
        ("session_risk_lag_seconds", "api-calls", "3"): 1.5,
    }


def test_a_metric_with_an_old_name_is_exported_under_both(metrics: Metrics) -> None:
    metrics.count("repaired_fields", "api-calls", "user_agent", by=2)

    assert _values(metrics) == {
        ("session_risk_repaired_fields_total", "api-calls", "user_agent"): 2,
        ("session_risk_mended_members_total", "api-calls", "user_agent"): 2,
    }


def test_a_sweep_is_no_chunk(metrics: Metrics) -> None:
    CountingObserver(metrics).done(Work("session", 3, None, 0, 0.004, Outcome(counts={("challenges", "missed"): 1})))

    assert _values(metrics) == {("session_risk_challenges_total", "missed"): 1}


def test_a_partition_is_recovering_until_it_is_ready_or_gone(metrics: Metrics) -> None:
    watch = CountingObserver(metrics)
    for partition in (0, 1):
        watch.restoring("session", partition, 0)
    watch.restoring("session", 0, 40)

    assert _values(metrics) == {
        ("session_risk_recovering_partitions", "session"): 2,
        ("session_risk_recovery_rows_total", "session"): 40,
    }
    watch.ready("session", 0)
    watch.closed("session", 1)
    assert _values(metrics) == {("session_risk_recovery_rows_total", "session"): 40}


def test_nothing_is_said_of_a_partition_that_is_gone(metrics: Metrics) -> None:
    watch = CountingObserver(metrics)
    for partition in (3, 4):
        watch.lag("api-calls", partition, 9)
        metrics.state_bytes.labels("session", partition).set(1)

    watch.closed("session", 3)

    assert _values(metrics) == {
        ("session_risk_lag_seconds", "api-calls", "4"): 9,
        ("session_risk_state_bytes", "session", "4"): 1,
    }


def test_what_a_partition_holds_is_asked_at_every_scrape_until_it_is_gone(metrics: Metrics) -> None:
    sessions = ["one"]
    metrics.watch_sessions(3, live=lambda: len(sessions), held=lambda: 600 * len(sessions), guard=lambda: 1)
    sessions.append("two")

    assert _values(metrics) == {
        ("session_risk_live_sessions", "3"): 2,
        ("session_risk_state_bytes", "session", "3"): 1200,
        ("session_risk_guard_state", "3"): 1,
    }
    CountingObserver(metrics).closed("session", 3)
    assert _values(metrics) == {}


def test_only_the_model_and_policy_in_use_are_shown(metrics: Metrics) -> None:
    metrics.show_models("one", ["two", "three"])
    metrics.show_policy("7", "enforce")
    metrics.show_models("two")
    metrics.show_policy("7", "observe")

    assert _values(metrics) == {
        ("session_risk_model_info", "two", "champion"): 1,
        ("session_risk_policy_info", "7", "observe"): 1,
    }


def test_a_worker_whose_loop_turns_says_when(metrics: Metrics) -> None:
    before = time()

    CountingObserver(metrics).loop_turned()

    assert before <= _values(metrics)["session_risk_heartbeat_timestamp_seconds",] <= time()


def test_a_stage_counts_only_on_metrics_that_exist() -> None:
    asked = {
        field
        for path in (ROOT / "pipeline").rglob("*.py")
        for field in re.findall(r"\.count(?:_events)?\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }

    assert asked <= {field for field, row in vars(Metrics).items() if isinstance(row, Metric)}


def test_a_scrape_shows_what_was_counted_and_the_process(metrics: Metrics) -> None:
    metrics.guard_state.labels(3).set(2)
    port = _free_port()

    stop = serve(metrics.registry, "127.0.0.1", port)
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        stop()

    assert 'session_risk_guard_state{partition="3"} 2.0' in text
    assert "process_resident_memory_bytes" in text


def test_an_address_in_use_is_said_with_the_setting_to_change(metrics: Metrics) -> None:
    port = _free_port()
    stop = serve(metrics.registry, "127.0.0.1", port)
    try:
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port} .*set SESSION_RISK_METRICS_PORT"):
            serve(CollectorRegistry(), "127.0.0.1", port)
    finally:
        stop()


def test_the_runbook_shows_the_table_of_metrics() -> None:
    runbook = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")

    shown = runbook.partition("<!-- metrics -->\n")[2].partition("<!-- /metrics -->")[0]
    assert shown == markdown(), "write pipeline.metrics.worker.markdown() between the marks of deploy/README.md"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return what is not 0, by name and label values; of a histogram only the count and the sum."""
    return {
        (sample.name, *(sample.labels[label] for label in _labels(sample.name))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_created", "_bucket"))
    }


def _labels(sample: str) -> tuple[str, ...]:
    return next(tuple(row.labels) for row in METRICS.values() if sample in row.exposed())
