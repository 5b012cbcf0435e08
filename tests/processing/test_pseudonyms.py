"""What a pseudonym is, and at which places of which messages it stands for a name."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import new as hmac_new
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.processing.processor import Message
from schemas.decode import encode
from schemas.export import EXAMPLES
from schemas.naming import KEYED_TOPICS, NAMING, NAMING_OBJECTS, Naming
from schemas.topics import DEAD_LETTERS, DEVICE_TELEMETRY, SESSION_CHALLENGES, SESSION_REVOCATIONS, TOPICS
from tests.support.pseudonym_keys import ONE, SECRET
from tests.support.samples import T0

# --- what a pseudonym is ----------------------------------------------------------------------------------


def _by_hand(naming: str, tenant: str, name: str) -> str:
    payload = naming.encode() + b"\xff" + tenant.encode() + b"\xff" + name.encode()
    digest = hmac_new(SECRET.encode(), payload, sha256).digest()[:16]
    return "p:k1:" + urlsafe_b64encode(digest).decode().rstrip("=")


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


# --- where it stands --------------------------------------------------------------------------------------


def test_commands_and_what_workers_tell_each_other_keep_names() -> None:
    outputs = {topic.name for topic in TOPICS.values() if topic.direction == "output"}

    assert outputs - KEYED_TOPICS == {SESSION_REVOCATIONS, SESSION_CHALLENGES}
    assert KEYED_TOPICS - outputs == set()


NAMELESS = {
    "action",
    "activity_id",
    "attack",
    "caused_by",
    "correlation_uid",
    "data",
    "decision_id",
    "desc",
    "detection",
    "detections",
    "event_id",
    "evidence",
    "feature_set",
    "learning",
    "message",
    "mode",
    "model",
    "name",
    "normal",
    "observed",
    "policy",
    "reason",
    "refusal",
    "risk_details",
    "session_id",
    "status_detail",
    "suppressed",
    "suppression_id",
    "tenant",
    "tenant_uid",
    "text",
    "title",
    "topic",
    "type",
    "types",
    "uid",
    "values",
    "vendor_name",
    "version",
}
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
    return [(name, path) for name in sorted(KEYED_TOPICS) for path in sorted((EXAMPLES / name / "valid").iterdir())]


@pytest.mark.parametrize(("topic", "path"), _examples(), ids=lambda item: item if isinstance(item, str) else item.stem)
def test_what_leaves_is_still_by_the_contract_and_differs_only_where_a_name_stood(topic: str, path: Path) -> None:
    message = TOPICS[topic].model.model_validate_json(path.read_bytes())

    left = ONE.pseudonymize(Message(topic, b"s-1", encode(message)))

    assert TOPICS[topic].model.model_validate_json(left.value).model_dump() != {}
    back = json.loads(left.value)
    before = json.loads(encode(message))
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
        "topic": DEVICE_TELEMETRY,
        "partition": 3,
        "offset": 17,
        "key": "cGhvbmUtMQ==",
        "value": "e30=",
        "size": 2,
        "reason": "type: is missing",
        "at": T0,
    }

    left = ONE.pseudonymize(Message(DEAD_LETTERS, b"phone-1", encode(letter)))

    fields = {name: value for name, value in letter.items() if name not in ("key", "value")}
    assert left == Message(DEAD_LETTERS, None, encode(fields))
