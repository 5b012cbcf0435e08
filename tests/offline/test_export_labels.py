"""Labels of exported vectors are point-in-time correct: an export of the past has no later knowledge."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.offline.replay.labels import MEANING, Label, Labels
from pipeline.offline.training.export import MANIFEST
from schemas.control import SessionFeedback
from tests.support.exports import DAY, HOUR, back, exported, files, vector, verdict
from tests.support.samples import T0

VERDICTS = st.builds(
    verdict,
    st.integers(T0, T0 + 40),
    st.sampled_from(sorted(MEANING)),
    session_id=st.sampled_from(["s-1", "s-2"]),
    decision_id=st.sampled_from([None, "d-1", "d-2"]),
)
VECTORS = st.tuples(st.integers(T0, T0 + 40), st.sampled_from(["s-1", "s-2"]))


@given(st.lists(VERDICTS, max_size=8), VECTORS, st.none() | st.integers(T0, T0 + 40), st.integers(0, 40))
def test_a_label_is_the_last_word_on_a_question_that_was_asked_after_the_vector(
    verdicts: list[SessionFeedback], scored: tuple[int, str], as_of: int | None, reach: int
) -> None:
    scored_at, session_id = scored

    found = Labels(verdicts, as_of, reach).of(("acme", session_id), scored_at)

    known = [feedback for feedback in verdicts if as_of is None or feedback.occurred_at <= as_of]
    known = sorted(
        (feedback for feedback in known if feedback.session_id == session_id),
        key=lambda feedback: feedback.occurred_at,
    )
    best = None
    for question in dict.fromkeys(this_session_feedback.decision_id for this_session_feedback in known):
        words = [
            this_session_feedback for this_session_feedback in known if this_session_feedback.decision_id == question
        ]
        asked_in_time = scored_at <= words[0].occurred_at <= scored_at + reach
        if asked_in_time and (best is None or words[-1].occurred_at > best.occurred_at):
            best = words[-1]
    assert found == (
        None if best is None else Label(best.verdict, best.occurred_at, best.reported_by, best.decision_id)
    )


@settings(max_examples=40)
@given(st.lists(VERDICTS, max_size=8), st.lists(VECTORS, min_size=1, max_size=8), st.integers(T0, T0 + 40))
def test_an_export_of_the_past_knows_nothing_of_what_came_after_it(
    tmp_path_factory: pytest.TempPathFactory,
    verdicts: list[SessionFeedback],
    scored: list[tuple[int, str]],
    as_of: int,
) -> None:
    folder = tmp_path_factory.mktemp("export")
    records = [vector(n, at, session_id=session) for n, (at, session) in enumerate(scored)]
    records.append(vector(99, T0, session_id="s-3"))  # that there is something

    exported(folder / "past", records, *verdicts, as_of=as_of)
    then = [feedback for feedback in verdicts if feedback.occurred_at <= as_of]
    exported(folder / "then", [fields for fields in records if fields["scored_at"] <= as_of], *then, as_of=as_of)

    past = back(folder / "past")
    assert (past.scored_at <= as_of).all()
    assert (past.label_at <= as_of).all()
    assert ((past.label_at == 0) | (past.label_at >= past.scored_at)).all()
    with_label = {name: value for name, value in files(folder / "past").items() if name != MANIFEST}
    assert with_label == {name: value for name, value in files(folder / "then").items() if name != MANIFEST}


def test_a_verdict_that_was_corrected_counts_until_it_was(tmp_path: Path) -> None:
    session_feedbacks = [
        verdict(T0 + HOUR, "true_positive", decision_id="d-1"),
        verdict(T0 + 30 * DAY, "false_positive", decision_id="d-1"),
    ]
    words = []
    for name, as_of in (("before", T0 + DAY), ("after", T0 + 30 * DAY), ("now", None)):
        exported(tmp_path / name, [vector()], *session_feedbacks, as_of=as_of)
        row = back(tmp_path / name)
        words.append((row.verdict.tolist(), row.label.tolist()))

    assert words == [(["true_positive"], [1]), (["false_positive"], [0]), (["false_positive"], [0])]


def test_a_verdict_does_not_label_vectors_scored_after_it_or_long_before(tmp_path: Path) -> None:
    records = [vector(1, T0), vector(2, T0 + 8 * DAY), vector(3, T0 + 8 * DAY + 2)]

    exported(tmp_path / "out", records, verdict(T0 + 8 * DAY + 1))

    assert back(tmp_path / "out").label.tolist() == [-1, 1, -1]
