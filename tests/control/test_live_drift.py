"""Live drift: compared with what the champion was trained on, and not shown without that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from models.artefacts import pack, save
from models.detectors.base import NoDetector
from models.detectors.drift import SCORE, Reference
from models.detectors.trained import fit
from models.features.table import FEATURE_NAMES
from models.model_card import REFERENCE
from pipeline.control.drift import BATCH_ROWS, HOURS, LiveDrift
from pipeline.control.reloader import ConfigReloader, InitialConfig, Models
from pipeline.metrics.worker import Metrics
from pipeline.worker.observer import MetricsObserver
from tests.support.run_processors import DAY, Desk, Event
from tests.support.samples import T0, auth, call

ALL = "low_features_share = 1.0"
LATE = T0 + 10 * DAY


def calls(session_id: str, count: int, *, begin: float = 0.0, every: float = 20.0) -> list[Event]:
    """One session that calls *count* times, *every* so many seconds."""
    subject = {"session_id": session_id}
    first = auth(begin, **subject, event_id=f"{session_id}-{begin}")
    rest = [call(begin + at * every, **subject, event_id=f"{session_id}-{begin}-{at}") for at in range(1, count)]
    return [first, *rest]


def trained() -> Reference:
    """What a model would have been trained on: sessions that call every 20 seconds."""
    desk = Desk(ALL)
    for number in range(4):
        first, *rest = calls(f"t-{number}", 600)
        desk.play(first, now=LATE)
        desk.play(*rest, now=LATE)
    details = [features["values"] for features in desk.output("session-features")]
    values = np.array([[row[name] for name in FEATURE_NAMES] for row in details])
    return Reference.from_rows(FEATURE_NAMES, values, np.zeros(len(values)))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return trained()


def live(reference: Reference, *sessions: list[Event]) -> LiveDrift:
    """What is counted when *sessions* are scored."""
    desk = Desk()
    desk.active.drift = LiveDrift(reference)
    for first, *rest in sessions:
        desk.play(first, now=LATE)
        desk.play(*rest, now=LATE)
    return desk.active.drift


def psi(drift: LiveDrift) -> dict[str, float]:
    return {this_drift.name: this_drift.psi for this_drift in drift.drift()}


def test_the_same_behaviour_has_not_moved_and_another_has(reference: Reference) -> None:
    same = live(reference, *(calls(f"u-{n}", 600) for n in range(12)))
    faster = live(reference, *(calls(f"f-{n}", 600, every=0.5) for n in range(12)))

    assert {this_drift.name for this_drift in same.drift()} == {*FEATURE_NAMES, SCORE}
    verdicts = [
        next(this_drift.verdict for this_drift in drift.drift() if this_drift.name == "calls_1h")
        for drift in (same, faster)
    ]
    assert verdicts == ["stable", "large"]


def test_a_share_of_the_vectors_is_drawn_and_time_alone_is_none(reference: Reference) -> None:
    drift = live(reference, *(calls(f"u-{n}", 800, every=1.0) for n in range(20)))

    assert 16_000 / 16 * 0.8 < drift.rows < 16_000 / 16 * 1.2


def test_how_chunks_are_cut_changes_nothing_of_what_is_counted(reference: Reference) -> None:
    events = calls("u-1", 900, every=1.0)
    whole, single = Desk(), Desk()
    for desk in (whole, single):
        desk.active.drift = LiveDrift(reference)
    whole.play(events[0])
    whole.play(*events[1:])
    single.each(*events)

    assert whole.active.drift is not None
    assert single.active.drift is not None
    assert psi(whole.active.drift) == psi(single.active.drift)


def test_what_is_older_than_a_day_no_longer_counts(reference: Reference) -> None:
    old = calls("f-1", 3 * BATCH_ROWS, every=0.5)
    new = [calls(f"u-{n}", 600, begin=(HOURS + 2) * 3_600.0) for n in range(12)]

    both, only = live(reference, old, *new), live(reference, *new)

    assert psi(both) == psi(only)
    assert both.rows > only.rows


def test_before_the_first_vector_nothing_is_known(reference: Reference) -> None:
    assert LiveDrift(reference).drift() == []


# --- A worker -----------------------------------------------------------------------------------------------


def a_model(folder: Path, name: str, reference: Reference | None) -> None:
    """A model in *folder*, with what it was trained on beside it, or without."""
    values = np.random.default_rng(1).random((1_000, len(FEATURE_NAMES)))
    detector = fit(values, np.zeros(1_000, np.uint8), name=name, seed=1)
    files = {} if reference is None else {REFERENCE: pack(reference.arrays)}
    save(detector, folder / name, {}, files)


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    return {
        sample.labels.get("feature", ""): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == f"session_risk_{name}"
    }


def test_a_worker_shows_drift_of_its_champion_and_none_where_it_is_not_known(
    tmp_path: Path, reference: Reference
) -> None:
    a_model(tmp_path, "with", reference)
    a_model(tmp_path, "without", None)
    seen = []
    for name in ("with", "without"):
        in_force = ConfigReloader(InitialConfig(model=name, models=Models(tmp_path)))
        metrics = Metrics(CollectorRegistry())
        watching = MetricsObserver(metrics, in_force)
        watching.loop_turned()
        assert shown(metrics, "drift_psi") == {}
        desk = Desk()
        desk.scorer.active = in_force.active
        for first, *rest in (calls(f"u-{n}", 600) for n in range(12)):
            desk.play(first, now=LATE)
            desk.play(*rest, now=LATE)
        watching.loop_turned()
        seen.append((set(shown(metrics, "drift_psi")), shown(metrics, "drift_rows")[""]))

    (features, rows), nothing = seen
    assert "calls_1h" in features
    assert features <= {*FEATURE_NAMES, SCORE}
    assert rows > 300
    assert nothing == (set(), 0.0)


def test_too_few_rows_show_nothing(reference: Reference) -> None:
    metrics = Metrics(CollectorRegistry())
    drift = live(reference, calls("u-1", 200))
    assert drift.rows > 0

    metrics.show_drift(drift.rows, drift.drift())

    assert {name for name, value in shown(metrics, "drift_psi").items() if value} == set()


def test_another_champion_starts_counting_afresh(tmp_path: Path, reference: Reference) -> None:
    a_model(tmp_path, "with", reference)
    in_force = ConfigReloader(InitialConfig(model="with", models=Models(tmp_path)))
    metrics = Metrics(CollectorRegistry())
    watching = MetricsObserver(metrics, in_force)
    metrics.drift_psi.labels("calls_1h").set(1.0)
    watching.loop_turned()
    in_force.active.detector, in_force.active.drift = NoDetector(), None

    metrics.drift_psi.labels("calls_1h").set(1.0)
    watching.loop_turned()

    assert shown(metrics, "drift_psi") == {}


def test_a_damaged_reference_is_reported_and_the_model_decides_all_the_same(
    tmp_path: Path, reference: Reference
) -> None:
    complaints: list[str] = []
    shape = Reference(reference.names, reference.edges[:-1], reference.counts)
    a_model(tmp_path, "odd", shape)

    in_force = ConfigReloader(InitialConfig(model="odd", models=Models(tmp_path)), complaints.append)

    assert in_force.active.drift is None
    assert in_force.champion is not None
    (complaint,) = complaints
    assert complaint.startswith("drift of model odd is not known: ")
