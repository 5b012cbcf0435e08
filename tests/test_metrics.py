"""Every metric has its row, its name follows Prometheus' manners, and a scrape shows what was counted."""

import re
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import METRICS, PREFIX, Metrics, markdown, serve

ROOT = Path(__file__).parent.parent


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

    values = [
        metrics.registry.get_sample_value("session_risk_revocations_total", {"state": s}) for s in states
    ]

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


def test_a_scrape_shows_what_was_counted_and_the_process(metrics: Metrics) -> None:
    metrics.guard_state.set(2)
    port = _free_port()

    stop = serve(metrics.registry, "127.0.0.1", port)
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        stop()

    assert "session_risk_guard_state 2.0" in text
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
    assert shown == markdown(), "write pipeline.metrics.markdown() between the marks of deploy/README.md"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
