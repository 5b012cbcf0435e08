"""Two replays of one recording: what they decide differently, session by session, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.offline.replay.diff import Change, Command, Difference, differences, read_output, summary
from pipeline.offline.replay.recording import RecordingError, write
from schemas.topics import API_CALLS, AUTH_EVENTS, SESSION_FEATURES, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.samples import T0, UNASKED, auth, call

_LEVELS = f"{UNASKED}[levels]\nmedium_raise = 40\nmedium_clear = 25\nhigh_raise = 80\nhigh_clear = 60\n"
_READING = f"prior = -4.0\nanomaly_weights = [0.0, 0.0, 0.0]\n{_LEVELS}[detections.mass_read]\nweight = "
DETECTIONS_ALONE = f"{_READING}6.0"
CALM = f"{_READING}4.0"
"""A policy to which many records read mean a step-up, not the end."""


def _recording(folder: Path) -> Path:
    """Two people: one reads far too much, one does nothing out of the way."""
    events = [
        (AUTH_EVENTS, auth(0, event_id="a-1")),
        (AUTH_EVENTS, auth(1, session_id="s-2", event_id="a-2")),
    ]
    events += [
        (API_CALLS, call(700 + at, event_id=f"c-{at}", records=3_000, sensitivity="restricted")) for at in range(3)
    ]
    events += [(API_CALLS, call(710, session_id="s-2", event_id="c-9"))]
    with write(folder) as writer:
        for topic, event in events:
            writer.event(topic, {name: value for name, value in event.items() if value is not None})
    return folder


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recording replayed twice by one policy, and once by another."""
    folder = tmp_path_factory.mktemp("replays")
    _recording(folder / "recording")
    for name, policy in (("a", DETECTIONS_ALONE), ("again", DETECTIONS_ALONE), ("b", CALM)):
        (folder / f"{name}.toml").write_text(f"{policy}\n", encoding="utf-8")
        decided_by = ("--policy", folder / f"{name}.toml")
        done = _run("replay", folder / "recording", "--out", folder / name, *decided_by)
        assert done.exit_code == 0, done.output
    return folder


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_recording_policy_and_model_give_the_same_bytes_and_no_difference(replays: Path) -> None:
    assert _bytes(replays / "a") == _bytes(replays / "again")

    done = _run("diff", replays / "a", replays / "again")

    assert done.exit_code == 0
    assert "0 of 1 sessions differ" in done.stdout


def test_differences_are_listed_with_their_reasons_and_commands(replays: Path) -> None:
    first, other = read_output(replays / "a"), read_output(replays / "b")

    (found,) = differences(first, other)

    assert (found.tenant, found.session_id) == ("default", "s-1")
    change = found.decisions[0]
    assert (change.caused_by, change.only) == ("c-1", "")
    assert change.members == {
        "score": (88.1, 50.0),
        "level": ("HIGH", "MEDIUM"),
        "action": ("revoke", "step_up"),
    }
    assert change.reasons == {"mass_read": (6.0, 4.0)}
    assert [(c.topic, c.only, c.detections) for c in found.commands] == [
        (SESSION_REVOCATIONS, "A", ["mass_read"]),
        ("session-challenges", "B", ["mass_read"]),
    ]


def test_the_summary_counts_what_each_side_has_alone(replays: Path) -> None:
    first, other = read_output(replays / "a"), read_output(replays / "b")

    fields = summary(first, other, differences(first, other))

    assert fields["models"][0] == fields["models"][1]
    assert fields["policies"] == [first.policies, other.policies]
    assert first.policies != other.policies
    assert (fields["sessions"], fields["sessions_differ"], fields["decisions_changed"]) == (1, 1, 1)
    assert (fields["revocations_only"], fields["challenges_only"]) == ([1, 0], [0, 1])


def test_the_summary_comes_first_and_the_exit_code_is_1_if_they_differ(replays: Path) -> None:
    done = _run("diff", replays / "a", replays / "b")

    assert done.exit_code == 1
    assert done.stdout.index("1 of 1 sessions differ") < done.stdout.index("session s-1 of tenant default")
    for part in ("level HIGH → MEDIUM", "mass_read +6.00 → +4.00", "only A: session-revocations"):
        assert part in " ".join(done.stdout.split())


def test_json_output_has_the_same_content(replays: Path) -> None:
    done = _run("diff", replays / "a", replays / "b", "--json")

    output = json.loads(done.stdout)
    assert done.exit_code == 1
    assert output["sessions_differ"] == 1
    assert output["differences"][0]["decisions"][0]["reasons"] == {"mass_read": [6.0, 4.0]}


def test_exchanging_the_sides_exchanges_the_differences(replays: Path) -> None:
    first, other = read_output(replays / "a"), read_output(replays / "b")

    there, back = differences(first, other), differences(other, first)

    turned = {"A": "B", "B": "A", "": ""}
    assert [_turned(difference, turned) for difference in back] == [_sorted(difference) for difference in there]


def _turned(difference: Difference, turned: dict[str, str]) -> Difference:
    decisions = [
        Change(
            change.decision_id,
            change.caused_by,
            change.occurred_at,
            turned[change.only],
            {name: pair[::-1] for name, pair in change.members.items()},
            {name: pair[::-1] for name, pair in change.reasons.items()},
        )
        for change in difference.decisions
    ]
    commands = [Command(c.topic, c.command_id, turned[c.only], c.detections) for c in difference.commands]
    return _sorted(Difference(difference.tenant, difference.session_id, decisions, commands))


def _sorted(difference: Difference) -> Difference:
    commands = sorted(difference.commands, key=lambda command: command.command_id)
    return Difference(difference.tenant, difference.session_id, difference.decisions, commands)


def _decision(**overrides: Any) -> dict[str, Any]:
    return {
        "tenant": "default",
        "session_id": "s-1",
        "decision_id": "d-1",
        "caused_by": "e-1",
        "occurred_at": T0,
        "score": 50.0,
        "level": "MEDIUM",
        "action": "step_up",
        "model": "m@1",
        "policy": "p@1",
        "reasons": [{"detection": "mass_read", "contribution": 4.0}],
        **overrides,
    }


def _output(folder: Path, *decisions: dict[str, Any]) -> Path:
    with write(folder) as writer:
        writer.event(SESSION_FEATURES, {})
        for decision in decisions:
            writer.event(SESSION_RISK, decision)
    return folder


def test_another_model_that_decides_the_same_is_no_difference(tmp_path: Path) -> None:
    first = read_output(_output(tmp_path / "a", _decision()))
    other = read_output(_output(tmp_path / "b", _decision(model="n@2", decided_at=T0 + 5)))

    assert differences(first, other) == []
    assert summary(first, other, [])["models"] == [["m@1"], ["n@2"]]


def test_a_replay_that_decided_nothing_can_be_compared(tmp_path: Path) -> None:
    first, other = read_output(_output(tmp_path / "a", _decision())), read_output(_output(tmp_path / "b"))

    assert differences(first, other) == [
        Difference("default", "s-1", [Change("d-1", "e-1", T0, "A", {}, {"mass_read": (4.0, None)})], [])
    ]


def test_the_same_session_id_of_two_tenants_is_two_sessions(tmp_path: Path) -> None:
    first = read_output(_output(tmp_path / "a", _decision(), _decision(tenant="acme")))
    other = read_output(_output(tmp_path / "b", _decision(), _decision(tenant="acme", score=60.0)))

    assert [(found.tenant, found.decisions[0].members) for found in differences(first, other)] == [
        ("acme", {"score": (50.0, 60.0)})
    ]


def test_more_sessions_than_are_asked_for_are_counted(tmp_path: Path) -> None:
    names = [f"s-{at}" for at in range(5)]
    decisions = [_decision(session_id=name, decision_id=f"d-{name}") for name in names]
    path, other = _output(tmp_path / "a", *decisions), _output(tmp_path / "b")

    done = _run("diff", path, other, "--sessions", "2")

    assert done.stdout.count("of tenant default") == 2
    assert "and 3 more sessions" in done.stdout


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    folder = _output(tmp_path / "a", _decision())
    with (folder / f"{SESSION_RISK}.jsonl").open("a", encoding="utf-8") as file:
        file.write("{\n")

    with pytest.raises(RecordingError, match=r"session-risk\.jsonl, line 2: not JSON"):
        read_output(folder)
