"""The page deploy/CAPACITY.md: current, made from figures that can be measured, with arithmetic checked by hand."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.kafka.topics import PROCESSOR_NAMES
from pipeline.offline.docs import capacity_page
from pipeline.offline.docs.capacity_page import (
    CAPACITY,
    CHANGELOG_ROWS,
    FIGURES,
    FORMAT,
    LOADS,
    OUTPUTS,
    PARTS,
    SIZES,
    Load,
    Written,
    load_of,
)
from pipeline.offline.docs.generate import with_parts
from pipeline.settings.loading import Settings
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[2]
DAY_S = 86_400


@pytest.fixture
def round_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures with which the expected values of these tests can be computed by hand."""
    figures = {
        "worker_events": 50_000,
        "event_bytes": 500,
        "event_key": 40,
        "session_memory": 1_000,
        "device_memory": 3_000,
        "principal_memory": 12_000,
        "worker_memory": 300 * 2**20,
        "strings_memory": 100 * 2**20,
    }
    for name, value in figures.items():
        monkeypatch.setitem(FIGURES, name, FIGURES[name]._replace(value=value))
    rows = {name: Written(0.0, 990) for name in CHANGELOG_ROWS} | {"session": Written(1.0, 590)}
    monkeypatch.setattr(capacity_page, "CHANGELOG_ROWS", rows)
    outputs = {"session-context": Written(0.1, 490), "session-risk": Written(0.001, 990)}
    monkeypatch.setattr(capacity_page, "OUTPUTS", outputs)


def test_the_page_is_current() -> None:
    text = CAPACITY.read_text("utf-8")

    assert text == with_parts(text, PARTS), "run `make docs`"


def test_every_figure_names_a_measurement_that_exists() -> None:
    commands = {figure.measured_by for figure in FIGURES.values()} - {FORMAT}

    scripts = [word for text in (*commands, SIZES) for word in shlex.split(text) if word.endswith((".py", ".sh"))]

    assert len(scripts) >= 5
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_every_figure_is_positive() -> None:
    assert [name for name, figure in FIGURES.items() if figure.value <= 0] == []


def test_records_are_measured_for_every_processor_and_for_existing_topics() -> None:
    assert sorted(CHANGELOG_ROWS) == sorted(PROCESSOR_NAMES)
    assert {TOPICS[topic].direction for topic in OUTPUTS} == {"internal", "output"}


@pytest.mark.usefixtures("round_figures")
def test_a_load_takes_what_the_figures_come_to() -> None:
    found = load_of(100_000, 1_000_000)

    produced, context, risk, changelog = 550, 0.1 * 500, 0.001 * 1_000, 600
    retained = (produced * 7 + context * 1 + risk * 30) * DAY_S
    by_memory = 1_000_000 / ((0.6 * 4 * 2**30 - 400 * 2**20) / 16_000)
    assert 7 < by_memory < 8
    expected = Load(
        events=100_000,
        sessions=1_000_000,
        workers=8,
        partitions=32,
        written_mb=(produced + context + risk + changelog) / 10,
        read_mb=(produced + context + risk + context) / 10,
        retained_gb=retained * 3 / 10_000,
        state_gb=1_000_000 * (600 + 1_000 + 1_000) / 0.7 * 3 / 1e9,
    )
    assert found[:4] == expected[:4]
    assert found[4:] == pytest.approx(expected[4:])


@pytest.mark.parametrize(("events", "sessions"), LOADS)
def test_every_load_of_the_page_can_be_configured(events: int, sessions: int) -> None:
    (limit,) = (bound.le for bound in Settings.model_fields["partitions"].metadata if hasattr(bound, "le"))
    most_sessions = int(Settings.model_fields["max_sessions_per_partition"].default)

    found = load_of(events, sessions)

    assert 4 * found.workers <= found.partitions <= limit
    assert sessions / found.partitions <= most_sessions


def test_more_load_never_takes_less() -> None:
    small, large = load_of(10_000, 1_000_000), load_of(1_000_000, 10_000_000)

    assert all(more >= less for less, more in zip(small, large, strict=True))
