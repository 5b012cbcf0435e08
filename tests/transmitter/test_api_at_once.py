"""What a receiver asks at once is done as if it were asked one after another, on either database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.transmitter_api import Answer, Api

AT_ONCE = 6


@pytest.fixture
def api_settings(url: str) -> dict[str, Any]:
    return {"database": url, "max_streams": 2}


def _at_once(ask: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(ask, range(AT_ONCE)))


def test_no_more_streams_are_made_than_it_may_have(api: Api) -> None:
    token = api.token()

    made = _at_once(lambda _: api.ask("POST", "/ssf/stream", {}, token=token))

    assert Counter(answer.status for answer in made) == {201: 2, 409: AT_ONCE - 2}
    assert len(api.ask("GET", "/ssf/stream", token=token).json) == 2


def test_a_stream_is_verified_once(api: Api) -> None:
    token = api.token()
    fields = {"stream_id": api.stream(token)["stream_id"]}

    asked = _at_once(lambda number: api.ask("POST", "/ssf/verify", {**fields, "state": str(number)}, token=token))

    assert Counter(answer.status for answer in asked) == {204: 1, 429: AT_ONCE - 1}


def test_changes_of_different_members_all_stay(api: Api) -> None:
    token = api.token()
    made = api.stream(token)
    changes: list[dict[str, Any]] = [
        {"description": "ours"},
        {"subject_form": "email"},
        {"subject_in_event": True},
        {"personal_data": True},
        {"events_requested": []},
        {},
    ]

    _at_once(
        lambda number: api.ask("PATCH", "/ssf/stream", {"stream_id": made["stream_id"], **changes[number]}, token=token)
    )

    expected = {name: value for change in changes for name, value in change.items()}
    (stored,) = api.ask("GET", "/ssf/stream", token=token).json
    assert stored == {**made, **expected, "events_delivered": []}


def test_tokens_are_handed_to_one_of_many_polls(api: Api) -> None:
    token = api.token()
    fields = {"stream_id": api.stream(token)["stream_id"]}
    api.ask("POST", "/ssf/verify", fields, token=token)

    polled = _at_once(
        lambda _: api.ask("POST", f"/ssf/poll/{fields['stream_id']}", {"returnImmediately": True}, token=token)
    )

    assert sorted(len(answer.json["sets"]) for answer in polled) == [0] * (AT_ONCE - 1) + [1]
