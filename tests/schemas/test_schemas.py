"""The contract: every message by its examples, its bounds and its published JSON Schema."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError, model_validator

from models.events.columns import AUTH_ACTIONS
from pipeline.sessions.context_updates import ATTEMPTS
from schemas.decode import decode_chunk, encode
from schemas.decoded import Repaired
from schemas.events import EVENT_TYPES, ApiCall, AuthEvent
from schemas.export import COMMITTED, EXAMPLES, message_schema
from schemas.fields import Message
from schemas.findings import SessionFinding
from schemas.internal import NetworkActivity
from schemas.plain import plain_validator
from schemas.topics import TOPICS
from tests.support.ocsf_schema import ocsf

__all__ = ["ocsf"]  # a fixture

LATE = 2**53
Json = dict[str, Any]


def _examples(kind: str) -> list[tuple[str, Path]]:
    return [(name, path) for name in TOPICS for path in sorted((EXAMPLES / name / kind).glob("*.json"))]


def _ids(examples: list[tuple[str, Path]]) -> list[str]:
    return [f"{topic}-{path.stem}" for topic, path in examples]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _outcome(topic: str, message: Any) -> Any:
    """The decoded *message* of *topic*, or the reason of its rejection."""
    decoded = decode_chunk(topic, [json.dumps(message).encode()], None, now_ms=LATE)
    return decoded.events[0] if decoded.events else decoded.rejected[0].reason


@cache
def _published(topic: str) -> Draft202012Validator:
    return Draft202012Validator(_read(COMMITTED / f"{topic}.schema.json"))


VALID, INVALID, REPAIRED = _examples("valid"), _examples("invalid"), _examples("repaired")
every_valid = pytest.mark.parametrize(("topic", "path"), VALID, ids=_ids(VALID))
every_invalid = pytest.mark.parametrize(("topic", "path"), INVALID, ids=_ids(INVALID))
every_repaired = pytest.mark.parametrize(("topic", "path"), REPAIRED, ids=_ids(REPAIRED))
every_topic = pytest.mark.parametrize("topic", TOPICS)


# --- examples ---------------------------------------------------------------------------------------------


@every_topic
def test_a_topic_has_several_valid_and_several_invalid_examples(topic: str) -> None:
    counts = [len(list((EXAMPLES / topic / kind).glob("*.json"))) for kind in ("valid", "invalid")]

    assert min(counts) >= 2


def test_no_example_is_left_of_a_topic_that_was_removed() -> None:
    stray = {path for path in EXAMPLES.rglob("*") if path.is_file()} - {path for _, path in VALID + INVALID + REPAIRED}

    assert stray == set()
    assert {path.name for path in EXAMPLES.iterdir()} == set(TOPICS)


@every_valid
def test_a_valid_example_is_what_its_model_makes_of_it(topic: str, path: Path) -> None:
    from_model = TOPICS[topic].model.model_validate_json(path.read_bytes()).model_dump()

    assert _outcome(topic, _read(path)) == from_model
    assert set(_read(path)) - set(from_model) <= {"x_vendor"}


@every_valid
def test_a_valid_example_is_valid_by_the_published_schema(topic: str, path: Path) -> None:
    assert list(_published(topic).iter_errors(_read(path))) == []


@every_valid
def test_a_message_written_and_read_again_is_the_same(topic: str, path: Path) -> None:
    model = TOPICS[topic].model.model_validate_json(path.read_bytes())
    plain = _outcome(topic, _read(path))

    assert _outcome(topic, json.loads(encode(plain))) == plain
    assert encode(model) == encode(plain)


@every_invalid
def test_an_invalid_example_is_refused_for_the_reason_in_its_file(topic: str, path: Path) -> None:
    assert _outcome(topic, _read(path)["event"]) == _read(path)["reason"]


@every_invalid
def test_an_invalid_example_is_refused_by_its_model_and_by_the_published_schema(topic: str, path: Path) -> None:
    event = _read(path)["event"]

    with pytest.raises(ValidationError):
        TOPICS[topic].model.model_validate_json(json.dumps(event))
    assert not _published(topic).is_valid(event)


@every_repaired
def test_an_event_is_repaired_as_its_example_shows(topic: str, path: Path) -> None:
    event, repaired = _read(path)["event"], _read(path)["repaired"]

    decoded = decode_chunk(topic, [json.dumps(event).encode()], None, now_ms=LATE)

    good = {name: value for name, value in {**event, **repaired}.items() if value is not None}
    assert decoded.events == [TOPICS[topic].model.model_validate(good).model_dump()]
    assert decoded.repaired == [Repaired(0, tuple(sorted(repaired)))]
    assert not _published(topic).is_valid(event)


# --- laws over every member of every message --------------------------------------------------------------


def _first_valid(topic: str) -> Json:
    example: Json = _read(next(path for name, path in VALID if name == topic))
    return example


def _required(topic: str) -> set[str]:
    return set(message_schema(TOPICS[topic])["required"])


@every_topic
def test_absent_and_null_mean_the_same(topic: str) -> None:
    for member in TOPICS[topic].model.model_fields:
        without = {name: value for name, value in _first_valid(topic).items() if name != member}

        absent, null = _outcome(topic, without), _outcome(topic, {**without, member: None})

        assert absent == null, member
        assert (absent == f"{member}: is missing") == (member in _required(topic))


@every_topic
def test_a_decoded_message_has_every_field(topic: str) -> None:
    only_required = {name: value for name, value in _first_valid(topic).items() if name in _required(topic)}

    assert set(_outcome(topic, only_required)) == set(TOPICS[topic].model.model_fields)


@every_topic
def test_a_field_from_a_newer_contract_changes_nothing(topic: str) -> None:
    example = _first_valid(topic)

    newer = {**example, "": 0, "a_newer_member": {"deep": [1, None]}}

    assert _outcome(topic, newer) == _outcome(topic, example)


def _variants(topic: str) -> Iterator[tuple[str, Json]]:
    """Every field of a topic's messages with each JSON Schema that it may have."""
    for member, schema in message_schema(TOPICS[topic])["properties"].items():
        for variant in schema.get("anyOf", [schema]):
            if "enum" not in variant and "const" not in variant:
                yield member, variant


WRONG = {
    "integer": [True, "5", 1.5, 1.0, 2**70, -1, [], {}],
    "number": [True, "5", [], {}],
    "string": [5, True, 1.5, [], {}],
    "boolean": [0, 1, "true", [], {}],
    "array": ["x", 5, {}, [1.5]],
}


def _wrong(variant: Json) -> list[Any]:
    too_much = {
        "string": "x" * (variant.get("maxLength", 0) + 1),
        "array": ["x"] * (variant.get("maxItems", 0) + 1),
    }
    kind = variant.get("type", "")
    return WRONG.get(kind, []) + [value for name, value in too_much.items() if name == kind]


@every_topic
def test_a_field_accepts_only_its_type_and_bounds(topic: str) -> None:
    model, example = TOPICS[topic].model, _first_valid(topic)
    for member, variant in _variants(topic):
        for wrong in _wrong(variant):
            with pytest.raises(ValidationError) as refused:
                model.model_validate_json(json.dumps({**example, member: wrong}))
            assert {error["loc"][0] for error in refused.value.errors()} == {member}


@every_topic
def test_everything_in_a_message_has_a_bound(topic: str) -> None:
    assert list(_unbounded(message_schema(TOPICS[topic]), topic)) == []


def _unbounded(schema: Any, place: str) -> Iterator[str]:
    bounds = {
        "string": ({"maxLength"}, {"pattern"}, {"enum"}, {"const"}),
        "integer": ({"minimum", "maximum"}, {"enum"}, {"const"}),
        "array": ({"maxItems"},),
    }
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind in ("string", "integer", "array") and not any(bound <= set(schema) for bound in bounds[kind]):
            yield place
        for name, part in schema.items():
            yield from _unbounded(part, f"{place}.{name}")
    if isinstance(schema, list):
        for part in schema:
            yield from _unbounded(part, place)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@every_topic
def test_no_number_is_infinite_or_none_at_all(topic: str, number: str) -> None:
    members = [member for member, variant in _variants(topic) if variant.get("type") in ("integer", "number")]
    for member in members:
        text = json.dumps({**_first_valid(topic), member: "<number>"}).replace('"<number>"', number)

        decoded = decode_chunk(topic, [text.encode()], None, now_ms=LATE)

        refused = [rejected.reason.split(":")[0] for rejected in decoded.rejected]
        assert refused + [name for repair in decoded.repaired for name in repair.fields] == [member], text
        assert not decoded.events or decoded.events[0][member] is None


def test_a_message_is_immutable() -> None:
    call = ApiCall.model_validate_json((EXAMPLES / "api-calls" / "valid" / "full.json").read_bytes())

    with pytest.raises(ValidationError):
        call.status = 500  # type: ignore[misc]


# --- event types ------------------------------------------------------------------------------------------


def test_every_event_type_is_the_word_in_its_class_and_has_an_input_topic() -> None:
    words = {name: get_args(model.model_fields["type"].annotation) for name, model in EVENT_TYPES.items()}

    assert words == {name: (name,) for name in EVENT_TYPES}
    assert {t.model for t in TOPICS.values() if t.direction == "input"} == set(EVENT_TYPES.values())


def test_every_action_of_the_contract_has_a_number_in_the_fold() -> None:
    actions = get_args(AuthEvent.model_fields["action"].annotation)

    assert sorted(AUTH_ACTIONS) == sorted(actions)
    assert set(ATTEMPTS) == set(get_args(NetworkActivity.model_fields["action"].annotation)) < set(actions)


def test_a_model_with_a_validator_of_its_own_is_refused() -> None:
    class Checked(Message):
        at: int

        @model_validator(mode="after")
        def check(self) -> "Checked":
            return self

    with pytest.raises(TypeError, match="may not need a 'function-after' validator"):
        plain_validator(Checked)


# --- OCSF -------------------------------------------------------------------------------------------------


def test_our_findings_are_ocsf_detection_findings(ocsf: Draft202012Validator) -> None:
    findings = [_read(path) for topic, path in VALID if topic == "session-findings"]
    written = [json.loads(encode(SessionFinding.model_validate_json(json.dumps(f)))) for f in findings]

    assert len(written) == 3
    assert [error.message for finding in written for error in ocsf.iter_errors(finding)] == []


def test_ocsf_refuses_fields_that_it_does_not_define(ocsf: Draft202012Validator) -> None:
    finding = _first_valid("session-findings")

    assert not ocsf.is_valid({**finding, "session_id": "s-1"})
    assert not ocsf.is_valid({**finding, "finding_info": {"title": "without uid"}})


def test_the_type_of_a_finding_is_its_class_and_its_activity() -> None:
    findings = [_read(path) for topic, path in VALID if topic == "session-findings"]

    assert {f["type_uid"] for f in findings} == {200401, 200402, 200403}
    assert all(f["type_uid"] == f["class_uid"] * 100 + f["activity_id"] for f in findings)
