"""Names leave as pseudonyms where operators want them to, and who enforces still knows whom to stop."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import new as hmac_new
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.brain import Brain
from pipeline.cli import main
from pipeline.kinds import stage_kinds
from pipeline.pseudonyms import BadKeysError, Key, Pseudonyms, keyed, read_keys
from pipeline.recording import InputRecord, write
from pipeline.replay import Replay
from pipeline.scenarios import find_directory
from pipeline.scorer import Options
from pipeline.script import in_order, stories
from pipeline.stage import Message
from samples import T0, auth, feedback
from schemas.decode import encode
from schemas.export import EXAMPLES
from schemas.naming import KEYED_TOPICS, NAMING, NAMING_OBJECTS, Naming
from schemas.topics import (
    AUTH_EVENTS,
    DEAD_LETTERS,
    DEVICE_TELEMETRY,
    SESSION_CHALLENGES,
    SESSION_FEEDBACK,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SUPPRESSIONS,
    TOPICS,
)

SECRET = "correct horse battery staple, 4711 times".replace(" ", "-")
OLDER = "an-older-secret-that-nobody-has-any-use-for"
ONE = Pseudonyms((Key("k1", SECRET.encode()),))
TWO = Pseudonyms((Key("k2", OLDER.encode()),))
PSEUDONYM = re.compile(rb"p:k1:[A-Za-z0-9_-]{22}")


def _by_hand(naming: str, tenant: str, name: str) -> str:
    told = naming.encode() + b"\xff" + tenant.encode() + b"\xff" + name.encode()
    digest = hmac_new(SECRET.encode(), told, sha256).digest()[:16]
    return "p:k1:" + urlsafe_b64encode(digest).decode().rstrip("=")


# --- What a pseudonym is ---


def test_a_pseudonym_is_half_a_keyed_hash_with_the_id_of_its_key() -> None:
    assert ONE.of("principal_id", "acme", "ana") == _by_hand("principal_id", "acme", "ana")
    assert ONE.of("principal_id", "acme", "ana") == "p:k1:WK1URpyGOh7FiIYNQL-JOQ"


words = st.text(alphabet=st.sampled_from("ab\x00\x1f:~é"), max_size=4)
whose = st.tuples(st.sampled_from(get_args(Naming)), words, words)


@given(whose, whose)
def test_two_names_never_share_a_pseudonym_not_even_those_of_two_tenants(
    one: tuple[Any, str, str], other: tuple[Any, str, str]
) -> None:
    assert (ONE.of(*one) == ONE.of(*other)) == (one == other)


def test_a_secret_stands_in_no_repr() -> None:
    assert SECRET not in f"{ONE!r} {ONE}"


# --- Where ---


def test_commands_and_what_workers_tell_each_other_keep_names() -> None:
    outputs = {topic.name for topic in TOPICS.values() if topic.direction == "output"}

    assert outputs - KEYED_TOPICS == {SESSION_REVOCATIONS, SESSION_CHALLENGES}
    assert KEYED_TOPICS - outputs == set()


NAMELESS = {
    "action", "activity_id", "attack", "caused_by", "correlation_uid", "data", "decision_id", "desc",
    "detection", "detections", "event_id", "evidence", "feature_set", "learning", "message", "mode", "model",
    "name", "normal", "observed", "policy", "reason", "refusal", "risk_details", "session_id",
    "status_detail", "suppressed", "suppression_id", "tenant", "tenant_uid", "text", "title", "topic", "type",
    "types", "uid", "values", "vendor_name", "version",
}  # fmt: skip
"""Texts that name no person: ids of events, decisions and sessions, names of models and detections, our own
words. What people write in `reason` stays as they wrote it."""


def _texts(model: Any) -> set[str]:
    """The members of *model*, and of what it holds, that are texts."""
    found: set[str] = set()
    for name, member in model.model_fields.items():
        for kind in _kinds(member.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= _texts(kind)
            elif kind in (str, Any):
                found.add(name)
    return found


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return set()
    parts = [part for part in get_args(annotation) if not isinstance(part, str)]
    return set().union(*map(_kinds, parts)) if parts else {annotation}


def test_of_every_text_that_leaves_it_is_known_whether_it_names_somebody() -> None:
    texts = set().union(*(_texts(TOPICS[name].model) for name in KEYED_TOPICS - {DEAD_LETTERS}))

    assert texts - NAMELESS - set(NAMING) == set()
    assert set(NAMING_OBJECTS) == {"user", "device"}


def _examples() -> list[tuple[str, Path]]:
    return [
        (name, path)
        for name in sorted(KEYED_TOPICS)
        for path in sorted((EXAMPLES / name / "valid").iterdir())
    ]


@pytest.mark.parametrize(
    ("topic", "path"), _examples(), ids=lambda one: one if isinstance(one, str) else one.stem
)
def test_what_leaves_is_still_by_the_contract_and_differs_only_where_a_name_stood(
    topic: str, path: Path
) -> None:
    told = TOPICS[topic].model.model_validate_json(path.read_bytes())

    left = ONE.leaving(Message(topic, b"s-1", encode(told)))

    assert TOPICS[topic].model.model_validate_json(left.value).model_dump() != {}
    back = json.loads(left.value)
    before = json.loads(encode(told))
    assert _paths(back, before) == {place for place in _named(before) if topic != DEAD_LETTERS}


def _named(value: Any, at: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    """Places in *value* where somebody is named."""
    return {
        place
        for place, _ in _leaves(value)
        if place[-1] in NAMING or place[-2:] in {("user", "uid"), ("device", "uid")}
    }


def _paths(one: Any, other: Any) -> set[tuple[Any, ...]]:
    """Places at which the two differ."""
    left, right = dict(_leaves(one)), dict(_leaves(other))
    return {place for place in left if left[place] != right[place]}


def _leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*at, name))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(inner, (*at, index))]
    return [(at, value)]


def test_a_dead_letter_says_where_the_record_is_and_keeps_nothing_of_it() -> None:
    letter = {
        "topic": DEVICE_TELEMETRY, "partition": 3, "offset": 17, "key": "cGhvbmUtMQ==", "value": "e30=",
        "size": 2, "reason": "type: is missing", "at": T0,
    }  # fmt: skip

    left = ONE.leaving(Message(DEAD_LETTERS, b"phone-1", encode(letter)))

    told = {name: value for name, value in letter.items() if name not in ("key", "value")}
    assert left == Message(DEAD_LETTERS, None, encode(told))


# --- The whole path ---

NAMES = ("principal_id", "device_id", "ip")


@pytest.fixture(scope="module")
def told() -> list[InputRecord]:
    """All stories, with names that can be told from any other text; a verdict; what cannot be read."""
    events = in_order(event for story in stories(find_directory(), T0) for event in story.events)
    marked = [(topic, {**event, **_marked(event)}) for topic, event in events]
    last = marked[-1][1]["occurred_at"]
    session = next(event for topic, event in marked if topic == AUTH_EVENTS)
    at = session["occurred_at"] + 60_000
    verdict = {
        **feedback(session_id=session["session_id"], reported_by="MARK-owner", detections=["mass_read"]),
        "tenant": session.get("tenant"), "occurred_at": at, "expires_at": at + 1_000,
    }  # fmt: skip
    dead = {**auth(principal_id="MARK-dead"), "action": 7, "session_id": 7, "occurred_at": last}
    marked += [(SESSION_FEEDBACK, verdict), (AUTH_EVENTS, dead)]
    return [
        InputRecord(topic, line, encode(event), event["occurred_at"])
        for line, (topic, event) in enumerate(in_order(marked), start=1)
    ]


def _marked(event: dict[str, Any]) -> dict[str, str]:
    names = ("principal_id", "device_id")
    return {name: f"MARK-{name}-{event[name]}" for name in names if event.get(name)}


def _said(told: list[InputRecord], pseudonyms: Pseudonyms | None) -> list[Message]:
    kinds = keyed(stage_kinds(Brain(), Options(1, event_clock=True)), pseudonyms)
    return list(Replay(kinds, 1).run(told))


@pytest.fixture(scope="module")
def said(told: list[InputRecord]) -> list[Message]:
    return _said(told, ONE)


def test_no_name_leaves_to_those_who_read_and_commands_name_whom_to_stop(
    told: list[InputRecord], said: list[Message]
) -> None:
    addresses = {json.loads(one.value).get("ip") for one in told} - {None}
    left = [one for one in said if one.topic in KEYED_TOPICS]

    assert {one.topic for one in left} >= {SESSION_RISK, SESSION_FINDINGS, SUPPRESSIONS, DEAD_LETTERS}
    assert [one for one in left if b"MARK" in one.value + (one.key or b"")] == []
    assert [one for one in left for ip in addresses if b'"' + ip.encode() + b'"' in one.value] == []
    assert all(PSEUDONYM.search(one.value) for one in left if one.topic in (SESSION_RISK, SESSION_FINDINGS))
    commands = [json.loads(one.value) for one in said if one.topic == SESSION_REVOCATIONS]
    assert commands
    assert {one["principal_id"].startswith("MARK-principal_id-") for one in commands} == {True}


def test_the_same_key_gives_the_same_bytes_and_another_changes_nothing_but_pseudonyms(
    told: list[InputRecord], said: list[Message]
) -> None:
    other = _said(told, TWO)

    assert _said(told, ONE) == said
    assert other != said
    assert [_unnamed(one) for one in other] == [_unnamed(one) for one in said]


def test_what_is_decided_does_not_depend_on_pseudonyms(told: list[InputRecord], said: list[Message]) -> None:
    plain = _said(told, None)

    assert [(one.topic, _unnamed(ONE.leaving(one))) for one in plain] == [
        (one.topic, _unnamed(one)) for one in said
    ]
    assert [one for one in said if one.topic not in KEYED_TOPICS] == [
        one for one in plain if one.topic not in KEYED_TOPICS
    ]


def _unnamed(message: Message) -> bytes:
    return re.sub(rb"p:k[12]:[A-Za-z0-9_-]{22}", b"somebody", message.value)


# --- Keys ---


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_first_key_is_in_use_and_with_the_others_what_was_said_before_is_found(tmp_path: Path) -> None:
    before = read_keys(_file(tmp_path, f"k1 {SECRET}"))
    after = read_keys(_file(tmp_path, "# since March", f"k2 {OLDER}", "", f"k1  {SECRET}"))

    assert after.of("device_id", "acme", "d-1") == TWO.of("device_id", "acme", "d-1")
    assert after.ever_of("device_id", "acme", "d-1") == {
        "k2": TWO.of("device_id", "acme", "d-1"),
        "k1": before.of("device_id", "acme", "d-1"),
    }


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], ": holds no key; a line is an id and a secret, as `openssl rand -hex 32` gives"),
        ([SECRET], ", line 1: a key is two words, its id and its secret"),
        (["", f"k1 {SECRET} {OLDER}"], ", line 2: a key is two words, its id and its secret"),
        ([f"k:1 {SECRET}"], ", line 1: a key's id is 1 to 16 letters, digits, _ or -"),
        ([f"k1 {SECRET[:31]}"], ", line 1: the secret is too short; take 32 characters or more, by chance"),
        (
            [f"k1 {SECRET}", f"k1 {OLDER}"],
            ", line 2: an earlier line has a key of this id; give every key one of its own",
        ),
    ],
)
def test_what_is_wrong_with_keys_is_said_without_them(
    tmp_path: Path, lines: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, *lines)
    with pytest.raises(BadKeysError) as refused:
        read_keys(path)
    assert str(refused.value) == f"{path}{complaint}"

    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(path))
    for command in (
        ["worker"],
        ["pseudonym", "ana"],
        ["replay", str(tmp_path), "--out", str(tmp_path / "out")],
    ):
        done = CliRunner().invoke(main, command)
        assert (done.exit_code, done.stderr) == (2, f"session-risk: {path}{complaint}\n")


def test_who_may_read_the_keys_is_told_a_pseudonym_to_search_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, f"k2 {OLDER}", f"k1 {SECRET}")
    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(path))

    done = CliRunner().invoke(main, ["pseudonym", "192.0.2.7", "--of", "ip", "--tenant", "acme", "--json"])
    shown = CliRunner().invoke(main, ["pseudonym", "ana"])

    assert (done.exit_code, shown.exit_code) == (0, 0)
    assert json.loads(done.stdout) == [
        {"key": "k2", "in_use": True, "pseudonym": TWO.of("ip", "acme", "192.0.2.7")},
        {"key": "k1", "in_use": False, "pseudonym": ONE.of("ip", "acme", "192.0.2.7")},
    ]
    assert ONE.of("principal_id", "default", "ana") in shown.stdout
    assert SECRET not in shown.output + done.output


def test_without_keys_names_leave_as_they_are_and_a_search_says_so() -> None:
    done = CliRunner().invoke(main, ["pseudonym", "ana"])

    assert done.exit_code == 2
    assert "names leave as they are; SESSION_RISK_PSEUDONYM_KEY_FILE names no keys" in done.stderr


def test_a_replay_writes_pseudonyms_where_a_worker_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(_file(tmp_path, f"k1 {SECRET}")))
    story = next(
        story for story in stories(find_directory(), T0) if story.name.startswith("a-phone-jailbroken")
    )
    with write(tmp_path / "in") as writer:
        for topic, event in story.events:
            writer.event(topic, event)

    done = CliRunner().invoke(main, ["replay", str(tmp_path / "in"), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    (decision, *_) = (tmp_path / "out" / f"{SESSION_RISK}.jsonl").read_bytes().splitlines()
    (command, *_) = (tmp_path / "out" / f"{SESSION_REVOCATIONS}.jsonl").read_bytes().splitlines()
    who = json.loads(command)
    assert json.loads(decision)["principal_id"] == ONE.of("principal_id", who["tenant"], who["principal_id"])
