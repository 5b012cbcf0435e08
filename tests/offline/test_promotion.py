"""A model is checked before its promotion: whether it can be loaded, and whom it revokes that the champion spares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from models.artefacts import ARRAYS
from pipeline.offline.replay.labels import Truths
from pipeline.offline.replay.recording import TOPIC_OF, write
from pipeline.offline.training.promotion import differing
from pipeline.sources.ground_truth import Truth
from tests.support.histories import CAFE, HOME, earlier, moved
from tests.support.model_desk import POLICY, Desk, desk
from tests.support.samples import T0, call

__all__ = ["desk"]  # a fixture

REFUSED, WRONG = 1, 2


# --- What differs -----------------------------------------------------------------------------------------


def keys(*sessions: str) -> set[tuple[str, str]]:
    return {("acme", session_id) for session_id in sessions}


def truth(session_id: str, label: Any) -> Truth:
    return Truth(tenant="acme", session_id=session_id, label=label, family="f", started_at=T0, ended_at=T0)


LABELLED = Truths([truth("a-1", "attack"), truth("a-2", "attack"), *(truth(f"b-{at}", "benign") for at in range(9))])


def test_honest_sessions_that_only_the_new_model_revokes_speak_against_it_and_five_are_named() -> None:
    found = differing(Path("day"), ("old@1", "new@1"), (keys("b-0"), keys(*(f"b-{at}" for at in range(8)))), LABELLED)

    assert found.refusal() == (
        "on day, new@1 revokes 7 honest sessions that old@1 does not: b-1 of tenant acme, b-2 of tenant acme, "
        "b-3 of tenant acme, b-4 of tenant acme, b-5 of tenant acme, and 2 more"
    )


def test_attacked_and_unlabelled_sessions_of_a_labelled_recording_do_not_speak_against_a_model() -> None:
    found = differing(Path("day"), ("old@1", "new@1"), (keys("a-1", "b-0"), keys("a-1", "a-2", "u")), LABELLED)

    assert found.refusal() == ""
    assert found.summary() == (
        "on day, new@1 revokes no honest session that old@1 does not; "
        "of attacked sessions new@1 revokes 2 and old@1 1; only it revokes 1 that truth.jsonl does not name"
    )


def test_without_ground_truth_every_session_may_be_honest() -> None:
    first, second = (
        differing(Path("day"), ("old@1", "new@1"), (keys("a", "b"), revoked), None)
        for revoked in (keys("a"), keys("c"))
    )

    unknown = "there is no truth.jsonl, so nothing says which sessions are honest"
    assert (first.refusal(), first.summary()) == (
        "",
        f"on day, new@1 revokes no session that old@1 does not; {unknown}",
    )
    assert second.refusal() == f"on day, new@1 revokes 1 session that old@1 does not: c of tenant acme; {unknown}"


# --- The command ------------------------------------------------------------------------------------------


def moved_abroad(folder: Path, label: str | None) -> Path:
    """A recording in which ana's session moves to a network that is new to her, and is used there for ten minutes."""
    events = [*earlier(HOME), *moved(HOME, CAFE, until=600), *(call(at, **CAFE) for at in range(1300, 1800, 100))]
    with write(folder) as writer:
        for event in sorted(events, key=lambda event: int(event["occurred_at"])):
            known = {name: value for name, value in event.items() if value is not None}
            writer.event(TOPIC_OF[event["type"]], known)
        if label:
            row = replace(truth("s-1", label), tenant="default", ended_at=T0 + 3_600_000)
            writer.truth(row)
    return folder


def test_a_model_that_workers_can_load_is_promoted(desk: Desk) -> None:
    done = desk.promote("odd")

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "odd decides, on workers that have it in SESSION_RISK_MODEL_DIR\n"
    assert desk.ordered() == [("promote", "odd")]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_model_that_no_worker_can_load_is_refused_with_what_is_wrong_where_and_what_to_do(
    desk: Desk, damaged: bool
) -> None:
    if damaged:
        copytree(desk.models / "odd", desk.models / "new")
        (desk.models / "new" / ARRAYS).write_bytes(b"of another model")

    done, forced = desk.promote("new"), desk.promote("new", "--force")

    assert (done.exit_code, done.stdout) == (WRONG, "")
    assert done.stderr.startswith(
        f"session-risk: model new cannot be loaded, and workers could not either: {desk.models / 'new'}"
    )
    assert ("its sha256 is not the card's" if damaged else "no readable model") in done.stderr
    assert done.stderr.endswith(
        f"; models are looked for in {desk.models} (SESSION_RISK_MODEL_DIR): put it there, or give --force if only "
        "workers have it\n"
    )
    assert (forced.exit_code, forced.stderr) == (
        0,
        done.stderr.replace("session-risk: ", "session-risk: --force promotes it all the same: "),
    )
    assert desk.ordered() == [("promote", "new")]


def test_a_model_that_would_revoke_an_honest_session_is_refused_even_while_nobody_is_commanded(
    desk: Desk, tmp_path: Path
) -> None:
    recording = moved_abroad(tmp_path / "recording", "benign")

    done = desk.promote("odd", "--compare", recording)
    before = desk.ordered()
    forced = desk.promote("odd", "--compare", recording, "--force")

    sentence = (
        f"on {recording}, {desk.ids['odd']} revokes 1 honest session that {desk.ids['calm']} does not: "
        "s-1 of tenant default; `session-risk compare` shows why. Train odd on more honest sessions, or give --force\n"
    )
    assert (done.exit_code, done.stdout, done.stderr, before) == (REFUSED, "", f"session-risk: {sentence}", [])
    assert (forced.exit_code, forced.stderr) == (0, f"session-risk: --force promotes it all the same: {sentence}")
    assert desk.ordered() == [("promote", "odd")]


def test_without_ground_truth_it_is_refused_too_and_the_sentence_says_that_nothing_is_known(
    desk: Desk, tmp_path: Path
) -> None:
    done = desk.promote("odd", "--compare", moved_abroad(tmp_path / "recording", None))

    assert (done.exit_code, desk.ordered()) == (REFUSED, [])
    assert "does not: s-1 of tenant default; there is no truth.jsonl, so nothing says which sessions are" in done.stderr


def test_a_model_that_revokes_an_attacked_session_or_no_other_than_the_champion_is_promoted(
    desk: Desk, tmp_path: Path
) -> None:
    attacked, honest = (moved_abroad(tmp_path / label, label) for label in ("attack", "benign"))

    outputs = [desk.promote("odd", "--compare", attacked).stdout, desk.promote("odd", "--compare", honest).stdout]

    calm, odd = desk.ids["calm"], desk.ids["odd"]
    decides = "odd decides, on workers that have it in SESSION_RISK_MODEL_DIR\n"
    first = f"{odd} revokes no honest session that {calm} does not; of attacked sessions {odd} revokes 1 and {calm} 1"
    second = f"{odd} revokes no honest session that {odd} does not; of attacked sessions {odd} revokes 0 and {odd} 0"
    assert outputs == [f"on {attacked}, {first}\n{decides}", f"on {honest}, {second}\n{decides}"]
    assert desk.ordered() == [("promote", "odd"), ("promote", "odd")]


@pytest.mark.parametrize(
    ("label", "ending"),
    [
        ("benign", "of attacked sessions {odd} revokes 0 and {calm} 0"),
        (None, "there is no truth.jsonl, so nothing says which sessions are honest"),
        ("attack", "of attacked sessions {odd} revokes 1 and {calm} 0"),
    ],
)
def test_people_answer_challenges_unless_their_session_is_known_to_be_attacked(
    desk: Desk, tmp_path: Path, label: str | None, ending: str
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace("weight = 4.5", "weight = 2.9"), encoding="utf-8")

    done = desk.promote("odd", "--compare", moved_abroad(tmp_path / "recording", label))

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(f"; {ending.format_map(desk.ids)}")


def test_the_model_that_decides_now_is_the_one_compared_with_and_one_that_cannot_be_loaded_is_passed_over(
    desk: Desk, tmp_path: Path
) -> None:
    desk.promote("calmer")
    desk.promote("gone", "--force")

    done = desk.promote("odd", "--compare", moved_abroad(tmp_path / "recording", "benign"))

    assert f"honest session that {desk.ids['calmer']} does not" in done.stderr
    assert "session-risk: model gone should decide, but cannot be loaded here: " in done.stderr
