"""Table of topics: it agrees with the contract and with the documents published for other languages."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from schemas import topics
from schemas.decode import record_key
from schemas.export import COMMITTED, documents, export, message_schema, schema_file
from schemas.topics import TOPICS, Direction, Topic

ASYNCAPI = Path(__file__).parent.parent / "data" / "asyncapi" / "3.0.0.json"
DAY_MS = 24 * 60 * 60 * 1000

# name, key, cleanup, days kept, direction
CONTRACT = [
    ("device-telemetry", "device_id", "delete", 1, "input"),
    ("auth-events", "session_id", "delete", 7, "input"),
    ("api-calls", "session_id", "delete", 7, "input"),
    ("session-context", "session_id", "delete", 1, "internal"),
    ("session-bindings", "device_id", "delete", 1, "internal"),
    ("principal-activity", "principal_id", "delete", 1, "internal"),
    ("network-activity", "network", "delete", 1, "internal"),
    ("session-risk", "session_id", "delete", 30, "output"),
    ("session-findings", "unmapped.session_id", "delete", 30, "output"),
    ("session-revocations", "session_id", "delete", 7, "output"),
    ("session-challenges", "session_id", "delete", 7, "output"),
    ("session-features", "session_id", "delete", 30, "output"),
    ("session-shadow", "session_id", "delete", 7, "output"),
    ("suppressions", "session_id", "delete", 30, "output"),
    ("session-feedback", "session_id", "delete", 30, "control"),
    ("revocation-acks", "session_id", "delete", 7, "control"),
    ("model-control", "model", "compact", None, "control"),
    ("dead-letters", None, "delete", 30, "output"),
]

every_topic = pytest.mark.parametrize("topic", TOPICS.values(), ids=list(TOPICS))


def test_the_topics_are_those_of_the_contract() -> None:
    days = {topic.name: topic.retention_ms and topic.retention_ms / DAY_MS for topic in TOPICS.values()}

    assert [(t.name, t.key, t.cleanup, days[t.name], t.direction) for t in TOPICS.values()] == CONTRACT


def test_what_is_keyed_by_session_device_or_principal_shares_one_partition_count() -> None:
    counts = {topic.name: topic.partitions(12) for topic in TOPICS.values()}

    assert counts == {name: 1 if name in ("model-control", "dead-letters") else 12 for name in TOPICS}


def test_every_topic_has_a_constant_of_its_name() -> None:
    constants = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}

    assert constants == set(TOPICS)
    assert all(getattr(topics, name.upper().replace("-", "_")) == name for name in TOPICS)


def test_every_direction_has_topics() -> None:
    assert {topic.direction for topic in TOPICS.values()} == set(get_args(Direction))


def test_the_configuration_is_what_the_broker_takes() -> None:
    assert TOPICS["auth-events"].config() == {
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
        "segment.ms": "25200000",
    }
    assert TOPICS["model-control"].config() == {"cleanup.policy": "compact"}


@every_topic
def test_the_key_is_a_required_string_with_bounds(topic: Topic) -> None:
    if topic.key is None:
        assert topic.name == "dead-letters"
        return
    for owner, member in pairwise([_schema(topic, []), *_steps(topic)]):
        assert member["name"] in owner["schema"]["required"]
    assert _steps(topic)[-1]["schema"] == {"type": "string", "minLength": 1, "maxLength": 128}


@every_topic
def test_a_topic_is_described_in_a_sentence(topic: Topic) -> None:
    assert topic.text[0].isupper()
    assert topic.text.endswith(".")


def test_a_topic_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(AttributeError):
        TOPICS["auth-events"].key = "principal_id"  # type: ignore[misc]


def test_the_key_of_a_message_is_the_utf_8_of_its_field() -> None:
    assert record_key("api-calls", {"session_id": "s-é"}) == b"s-\xc3\xa9"
    assert record_key("session-findings", {"unmapped": {"session_id": "s-1"}}) == b"s-1"


def test_a_dead_letter_has_no_key_of_its_own() -> None:
    with pytest.raises(ValueError, match="dead-letters has no key of its own"):
        record_key("dead-letters", {"topic": "api-calls"})


# --- what is published ------------------------------------------------------------------------------------


def test_the_committed_documents_are_current() -> None:
    committed = {path.name: _read(path) for path in COMMITTED.iterdir()}

    assert committed == documents(), "run `python -m schemas.export`"


def test_the_export_is_byte_for_byte_what_is_committed(tmp_path: Path) -> None:
    written = export(tmp_path / "new")

    committed = [COMMITTED / path.name for path in written]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in committed]


@every_topic
def test_a_published_schema_is_json_schema_2020_12(topic: Topic) -> None:
    schema = _read(COMMITTED / schema_file(topic))

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_asyncapi_document_is_valid_by_the_official_meta_schema() -> None:
    validator = Draft7Validator(_read(ASYNCAPI))
    document = _read(COMMITTED / "asyncapi.json")

    assert list(validator.iter_errors(document)) == []
    assert not validator.is_valid({**document, "channels": {"auth-events": {"bindings": {"kafka": 1}}}})


def test_every_reference_in_the_asyncapi_document_resolves() -> None:
    document = _read(COMMITTED / "asyncapi.json")

    assert [name for name in _references(document) if not _resolves(document, name)] == []


def test_the_asyncapi_document_has_every_topic_with_its_key_and_operations() -> None:
    document = _read(COMMITTED / "asyncapi.json")
    actions: dict[str, set[str]] = {}
    for operation in document["operations"].values():
        actions.setdefault(operation["channel"]["$ref"].rpartition("/")[2], set()).add(operation["action"])

    assert set(document["channels"]) == set(TOPICS)
    assert actions["api-calls"] == actions["revocation-acks"] == {"receive"}
    assert actions["session-revocations"] == actions["dead-letters"] == {"send"}
    assert actions["session-context"] == {"receive", "send"}
    assert document["channels"]["session-risk"]["bindings"]["kafka"] == {
        "topic": "session-risk",
        "partitions": 8,
        "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": 2_592_000_000},
        "bindingVersion": "0.5.0",
    }


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from _references(inner)
    if isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def _resolves(document: dict[str, Any], reference: str) -> bool:
    part = document
    for step in reference.removeprefix("#/").split("/"):
        if step not in part:
            return False
        part = part[step]
    return True


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _steps(topic: Topic) -> list[dict[str, Any]]:
    names = (topic.key or "").split(".")
    return [_schema(topic, names[: index + 1]) for index in range(len(names))]


def _schema(topic: Topic, names: list[str]) -> dict[str, Any]:
    """The part of the topic's JSON Schema at *names*, references followed."""
    whole = message_schema(topic)
    part = whole
    for name in names:
        part = part["properties"][name]
        if "$ref" in part:
            part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    return {"name": names[-1] if names else "", "schema": part}
