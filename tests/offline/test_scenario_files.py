"""The stories: every file can be played, attacks have honest twins, mistakes are located."""

import json
from pathlib import Path

import pytest

from pipeline.offline.replay.recording import TOPIC_OF
from pipeline.offline.scenarios import scenario
from pipeline.offline.scenarios.scenario import Expectation, Scenario, ScenarioError
from schemas.events import EVENT_TYPES

START = 1_772_409_600_000
STORIES = scenario.load_all(scenario.find_directory(), START)
each_story = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)

SMALL = """
title = "A title"
story = "a"
text = "A text."
play_until = "1m"
step = [
    { at = "10s", who = "ana", type = "auth.event", action = "sign_in", credential_expires_at = "+1h" },
    { at = "+5s", who = "ana", place = "cafe", type = "api.call", operation = "GET /a", every = "20s" },
    { at = 0, who = "ana", type = "device.telemetry", attested_at = "30s", every = "30s", times = 2 },
]
[who.ana]
session_id = "s"
principal_id = "ana"
principal_kind = "human"
device_id = "phone"
token_id = "t"
status = 200
rooted = false
place = "home"
[place.home]
asn = 64601
[place.cafe]
asn = 64851
country = "DE"
[expect.s]
level = "HIGH"
action = "revoke"
because = ["device_rooted"]
"""


def _load(directory: Path, text: str, suffix: str = "") -> Scenario:
    path = directory / "small.toml"
    path.write_text(text, encoding="utf-8")
    return scenario.load(path, START, suffix)


@each_story
def test_every_event_of_a_story_is_valid_in_order_and_ends_with_it(story: Scenario) -> None:
    times = [event["occurred_at"] for _, event in story.events]
    assert times == sorted(times)
    assert START <= times[0] <= times[-1] <= story.play_until
    assert len({event["event_id"] for _, event in story.events}) == len(times)
    for topic, event in story.events:
        validated = EVENT_TYPES[event["type"]].model_validate(event)
        assert set(event) <= set(type(validated).model_fields)
        assert TOPIC_OF[event["type"]] == topic


@each_story
def test_time_goes_on_to_the_end_so_that_deadlines_are_reached(story: Scenario) -> None:
    last = max(event["occurred_at"] for _, event in story.events)

    assert story.play_until - last <= 60_000


@each_story
def test_a_story_has_a_text_and_an_expectation_for_every_session(story: Scenario) -> None:
    sessions = {event["session_id"] for _, event in story.events if "session_id" in event}

    assert story.title
    assert len(story.text) > 100
    assert set(story.expect) == sessions
    assert any(expected.action == "allow" for expected in story.expect.values())


@pytest.mark.parametrize("letter", "abcdef")
def test_every_story_has_an_attack_and_an_honest_twin(letter: str) -> None:
    scenarios = [story for story in STORIES if story.story == letter]
    attacks = [
        story for story in scenarios if any(expectation.action == "revoke" for expectation in story.expect.values())
    ]
    twins = [story for story in scenarios if story.twin]

    assert attacks
    assert twins
    assert all(expectation.action != "revoke" for story in twins for expectation in story.expect.values())
    assert all(story.name.startswith(f"{letter}-") and story.name for story in scenarios)
    assert all(("twin" in story.name) == story.twin for story in scenarios)


def test_there_is_no_other_story() -> None:
    assert {story.story for story in STORIES} == set("abcdef")


def test_a_suffix_keeps_two_runs_of_a_story_apart() -> None:
    ids = ("event_id", "session_id", "principal_id", "device_id", "token_id")
    for plain, marked in zip(STORIES, scenario.load_all(scenario.find_directory(), START, "-2"), strict=True):
        assert set(marked.expect) == {f"{name}-2" for name in plain.expect}
        for name in ids:
            first = {event[name] for _, event in plain.events if name in event}
            assert first.isdisjoint({event[name] for _, event in marked.events if name in event})


def test_a_story_is_read_as_it_is_written(tmp_path: Path) -> None:
    story = _load(tmp_path, SMALL, "-x")

    rows = [(topic, event.pop("occurred_at") - START, event) for topic, event in story.events]
    ana = {"session_id": "s-x", "principal_id": "ana-x", "principal_kind": "human", "token_id": "t-x"}
    shown = {**ana, "device_id": "phone-x", "asn": 64601}
    cafe = shown | {"type": "api.call", "asn": 64851, "country": "DE", "status": 200, "operation": "GET /a"}
    device = {
        "type": "device.telemetry",
        "device_id": "phone-x",
        "rooted": False,
        "attested_at": START + 30_000,
    }
    signed_in = {"type": "auth.event", "action": "sign_in", "credential_expires_at": START + 3_610_000}
    assert rows == [
        ("device-telemetry", 0, device | {"event_id": "small-x-0001"}),
        ("auth-events", 10_000, shown | signed_in | {"event_id": "small-x-0002"}),
        ("api-calls", 15_000, cafe | {"event_id": "small-x-0003"}),
        ("device-telemetry", 30_000, device | {"event_id": "small-x-0004"}),
        ("api-calls", 35_000, cafe | {"event_id": "small-x-0005"}),
        ("api-calls", 55_000, cafe | {"event_id": "small-x-0006"}),
    ]
    assert story.expect == {"s-x": Expectation("HIGH", "revoke", ("device_rooted",))}
    assert (story.name, story.title, story.text) == ("small", "A title", "A text.")
    assert (story.twin, story.play_until) == (False, START + 60_000)


@pytest.mark.parametrize(
    ("word", "instead", "complaint"),
    [
        ("title =", "titel =", "at the top: titel is unknown here; did you mean title?"),
        ('play_until = "1m"', 'play_until = "soon"', "play_until: 'soon' is not a time: write seconds"),
        ('play_until = "1m"', "", "at the top: play_until is missing"),
        ("asn = 64601", "asm = 64601", "place.home: asm is unknown here; did you mean asn?"),
        ("rooted = false", "roted = false", "who.ana: roted is unknown here; did you mean rooted?"),
        ("rooted = false", 'rooted = "no"', "step 3: rooted: Input should be a valid boolean"),
        ('who = "ana", place', 'who = "bea", place', "step 2: there is no [who.bea]"),
        ('place = "cafe"', 'place = "bar"', "step 2: there is no [place.bar]"),
        ('type = "api.call"', 'type = "call"', "step 2: type 'call' is not one of auth.event, api.call"),
        ('operation = "GET /a"', 'tol = "x"', "step 2: tol is unknown here; did you mean tool?"),
        ('operation = "GET /a"', 'tool = "x"', "step 2: operation: Field required"),
        ('every = "20s"', 'until = "20s"', "step 2: times and until need every"),
        ('every = "20s"', 'every = "0s"', "step 2: every must be positive"),
        ("times = 2", "times = 0", "step 3, times: 0 is not a number of times"),
        ('attested_at = "30s"', 'attested_at = "now"', "step 3, attested_at: 'now' is not a time"),
        ('place = "home"', 'like = "bea"', "who.ana, like: 'bea' must be a who that has no `like` itself"),
        ("[expect.s]", "[expect.t]", "expect: the expected outcome of session s is missing"),
        ("[expect.s]", "[expect.t]\nlevel='LOW'\naction='allow'\n[expect.s]", "expect.t: no step belongs to this"),
        ('level = "HIGH"', 'level = "high"', "expect.s, level: 'high' is not one of LOW, MEDIUM, HIGH"),
        (
            'action = "revoke"',
            'action = "kill"',
            "expect.s, action: 'kill' is not one of allow, step_up, hold_for_approval, revoke",
        ),
        ("device_rooted", "device_routed", "expect.s, because: 'device_routed' is not one of device_rooted"),
        ("[who.ana]", "[[who.ana]]", "who: write it as tables, [who.NAME]"),
    ],
)
def test_a_mistake_is_pointed_at(tmp_path: Path, word: str, instead: str, complaint: str) -> None:
    assert word in SMALL

    with pytest.raises(ScenarioError) as found:
        _load(tmp_path, SMALL.replace(word, instead, 1))

    assert str(found.value).startswith(f"small.toml, {complaint}")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"small\.toml: cannot be read: Invalid value"):
        _load(tmp_path, "title = ")


def test_a_folder_without_stories_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="has no story"):
        scenario.load_all(tmp_path, START)


def test_a_story_can_be_written_down_as_json() -> None:
    assert all(json.loads(json.dumps(event)) == event for story in STORIES for _, event in story.events)
