"""Far behind, the model passes over sessions no detection speaks about; nothing else changes by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors.base import NoDetector
from models.detectors.drift import Reference
from models.features.table import FEATURE_NAMES
from models.state.table import HAS_RISK_STATE
from pipeline.assembly import options
from pipeline.control.active import Challenger
from pipeline.control.drift import LiveDrift
from pipeline.sessions import processor
from pipeline.sessions.fast_path import is_behind
from pipeline.sessions.processor import Options
from pipeline.sessions.shadow import Shadows
from pipeline.settings.loading import Settings
from schemas import topics
from tests.support.event_streams import BUSY, CUTS, SESSIONS, STREAMS, OddTotals
from tests.support.run_processors import NOW, Desk, Event, SentMessage, chunks, of, read, record, topic_of
from tests.support.samples import T0, auth, call
from tests.support.stored_rows import decode

pytestmark = pytest.mark.slow

BOUND_MS = 60_000
UNSAMPLED = f"low_features_share = 0.0\nanomaly_weights = [0.1, 0.2, 0.3]\n{BUSY}"
"""The model's word counts beside others, and alone raises nobody's level; nothing is drawn for retraining."""
ALARMING = f'mode = "observe"\nlow_features_share = 0.0\nanomaly_weights = [2.0, 4.0, 9.0]\n{BUSY}'
JUDGED = ("band", "level", "flags", "wake_at")
"""Fields of a row that follow from decisions, not from what was folded."""
CALLS_1H = FEATURE_NAMES.index("calls_1h")


class Seen(OddTotals):
    """Notes the hour's calls in every vector it is asked about, rounded."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.calls += np.rint(np.expm1(seen[:, CALLS_1H].astype(np.float64))).astype(int).tolist()
        return super().score(seen, kinds)


def desk(policy: str = UNSAMPLED, detector: Any = None) -> Desk:
    return Desk(policy, detector or OddTotals(), Options(unscored_lag_ms=BOUND_MS))


def play(one: Desk, *events: Event, behind: bool = False) -> list[SentMessage]:
    """One chunk, whose records are just made, or as old as their events."""
    topic = topic_of(events[0])
    records = [record(event, one.offsets[topic] + at) for at, event in enumerate(events)]
    one.offsets[topic] += len(events)
    return one.take(topic, [this_record if behind else this_record._replace(timestamp=NOW) for this_record in records])


def lagged(policy: str, events: list[Event], cuts: set[int], late: set[int]) -> Desk:
    """The stream, of which the chunks in *late* come too late, and a last call of each session in time."""
    this_desk = desk(policy)
    for at, part in enumerate(chunks(events, cuts)):
        play(this_desk, *part, behind=at in late)
    at = (events[-1]["occurred_at"] - T0) / 1000 + 1
    for session_id in SESSIONS:
        play(this_desk, call(at, session_id=session_id, event_id=f"last-{session_id}"))
    return this_desk


# --- what must not change ---------------------------------------------------------------------------------


@given(events=STREAMS, cuts=CUTS, late=st.sets(st.integers(0, 40)))
@settings(max_examples=200)
def test_after_a_lag_all_that_was_said_and_is_kept_is_what_it_would_be_without_it(
    events: list[Event], cuts: set[int], late: set[int]
) -> None:
    never, some = lagged(UNSAMPLED, events, cuts, set()), lagged(UNSAMPLED, events, cuts, late)

    assert read(some.messages) == read(never.messages)
    assert some.rows == never.rows


@given(events=STREAMS, cuts=CUTS, late=st.sets(st.integers(0, 40)))
@settings(max_examples=150)
def test_where_the_model_alone_raises_levels_what_was_folded_is_the_same_and_so_is_the_last_score(
    events: list[Event], cuts: set[int], late: set[int]
) -> None:
    never, some = lagged(ALARMING, events, cuts, set()), lagged(ALARMING, events, cuts, late)

    assert _folded(some) == _folded(never)
    assert _bands(some) == _bands(never)


def _folded(one: Desk) -> dict[bytes, list[Any]]:
    return {
        key: [field.tolist() for name, field in _fields(value).items() if name not in JUDGED]
        for key, value in one.rows.items()
    }


def _bands(one: Desk) -> dict[bytes, int]:
    return {key: int(_fields(value)["band"][0]) for key, value in one.rows.items()}


def _fields(value: bytes) -> dict[str, NDArray[Any]]:
    rows, *_ = decode(value)
    return {name: rows[name] for name in rows.dtype.names or ()}


# --- who is passed over -----------------------------------------------------------------------------------


def test_a_session_nothing_speaks_about_is_passed_over_counted_and_then_scored_on_all_it_did() -> None:
    model = Seen()
    this_desk = desk(detector=model)

    play(this_desk, call(0), call(1), behind=True)
    play(this_desk, call(2), behind=True)
    passed = list(model.calls)
    play(this_desk, call(3))

    assert (passed, model.calls, this_desk.counts["unscored_events", topics.API_CALLS]) == ([], [4], 3)


def test_the_last_score_of_a_session_that_is_passed_over_stays() -> None:
    this_desk = desk()
    play(this_desk, call(0))
    (before,) = _bands(this_desk).values()

    play(this_desk, *(call(at) for at in range(1, 6)), behind=True)

    assert _bands(this_desk) == {next(iter(this_desk.rows)): before}
    assert before == 2


def test_a_session_whose_detections_move_is_scored_from_that_event_on_however_late_it_is() -> None:
    model = Seen()
    this_desk = desk(detector=model)
    play(this_desk, call(0), behind=True)

    outputs = play(this_desk, call(1, sensitivity="restricted", records=200), call(2), behind=True)

    (risk,) = of(outputs, topics.SESSION_RISK)
    assert model.calls == [2, 3]
    assert {reason["detection"] for reason in risk["reasons"]} == {"mass_read", "anomaly"}


def test_a_session_with_a_case_is_scored_however_late_it_is() -> None:
    model = Seen()
    this_desk = desk(detector=model)
    play(this_desk, call(0, sensitivity="restricted", records=200))
    play(this_desk, call(700))
    (row,) = (_fields(value) for value in this_desk.rows.values())
    model.calls.clear()

    play(this_desk, call(701), behind=True)

    assert (int(row["mask"][0, 0]), int(row["flags"][0]) & HAS_RISK_STATE) == (0, HAS_RISK_STATE)
    assert (len(model.calls), this_desk.counts["unscored_events", topics.API_CALLS]) == (1, 0)


def test_one_session_in_question_has_nobody_else_scored() -> None:
    model = Seen()
    this_desk = desk(detector=model)

    play(
        this_desk,
        *(call(0, session_id=f"quiet-{n}") for n in range(5)),
        call(1, session_id="loud", sensitivity="restricted", records=200),
        behind=True,
    )

    assert (model.calls, this_desk.counts["unscored_events", topics.API_CALLS]) == ([1], 5)


@pytest.mark.parametrize(
    ("age_ms", "bound_ms", "late"),
    [(60_000, 60_000, False), (60_001, 60_000, True), (10**9, 0, False), (-5, 60_000, False)],
)
def test_a_chunk_is_late_beyond_the_bound_and_never_where_there_is_none(age_ms: int, bound_ms: int, late: bool) -> None:
    assert is_behind(NOW - age_ms, NOW, bound_ms) == late


def test_a_record_without_a_time_is_not_late() -> None:
    assert not is_behind(-1, NOW, BOUND_MS)


def test_a_worker_passes_over_as_it_is_set_and_a_replay_never_does() -> None:
    settings_read = Settings(unscored_lag_s=2.5)

    assert options(settings_read, 8).unscored_lag_ms == 2_500
    assert options(settings_read, 8, event_clock=True) == replace(
        options(settings_read, 8), event_clock=True, unscored_lag_ms=0, changelog=False
    )


# --- what else rests on scores ----------------------------------------------------------------------------


def test_what_is_passed_over_is_no_vector_for_retraining_and_nothing_a_challenger_has_a_word_on() -> None:
    this_desk = desk(f"low_features_share = 1.0\n{BUSY}")
    challenger = Seen()
    this_desk.active.challengers = (Challenger(challenger),)

    late = play(this_desk, call(0), call(1), behind=True)
    counted = {counts for counts in this_desk.counts if counts[0] == "challenger_vectors"}
    in_time = play(this_desk, call(2))

    assert (of(late, topics.SESSION_FEATURES), of(late, topics.SESSION_SHADOW), counted) == ([], [], set())
    assert [len(of(in_time, number)) for number in (topics.SESSION_FEATURES, topics.SESSION_SHADOW)] == [1, 1]
    assert challenger.calls == [3]


def test_a_challenger_differs_on_nothing_that_was_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    differed: list[bool] = []

    class Noted(Shadows):
        def __init__(self, *received: Any) -> None:
            super().__init__(*received)
            differed.append(bool(self.watched.any()))

    monkeypatch.setattr(processor, "Shadows", Noted)
    this_desk = desk()
    this_desk.active.challengers = (Challenger(NoDetector()),)

    play(this_desk, call(0))
    play(this_desk, call(1), behind=True)

    assert differed == [True, False]


def test_what_is_passed_over_is_not_counted_as_drift() -> None:
    this_desk = desk()
    this_desk.active.drift = LiveDrift(
        Reference.from_rows(FEATURE_NAMES, np.zeros((8, len(FEATURE_NAMES))), np.zeros(8))
    )

    play(this_desk, *(call(at / 10) for at in range(200)), behind=True)
    passed = this_desk.active.drift.rows
    play(this_desk, *(call(20 + at / 10) for at in range(200)))

    assert passed == 0
    assert this_desk.active.drift.rows > 0


def test_a_sign_out_is_heard_however_late_it_is() -> None:
    this_desk = desk()
    play(this_desk, auth(0, device_id="phone-1"), behind=True)

    outputs = play(this_desk, auth(1, action="sign_out"), behind=True)

    assert [event["state"] for event in of(outputs, topics.SESSION_BINDINGS)] == ["ended"]
