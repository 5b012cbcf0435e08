"""Orders about models: promote, shadow and rollback, under the group's name and their own."""

from __future__ import annotations

import asyncio
import json
from getpass import getuser
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.commands import model
from pipeline.control.succession import succession
from pipeline.kafka.client import values_containing
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.kafka.partitioner import partition_of
from schemas.topics import MODEL_CONTROL
from tests.support.counting_processor import produce

PLACE = partition_of(b"default", 4)
FIRST, SECOND = [name for name in map("m-{}".format, range(40)) if partition_of(name.encode(), 4) == PLACE][:2]
"""An embedded broker with the orders about models in one partition, as in Kafka."""


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Any:
    with EmbeddedBroker() as broker:
        broker.create([MODEL_CONTROL])
        monkeypatch.setenv("SESSION_RISK_BROKER", broker.bootstrap)
        monkeypatch.setattr(model, "needed_topics", lambda *_: ())  # of one partition, it would say
        yield broker


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def _orders(broker: EmbeddedBroker) -> list[dict[str, Any]]:
    payloads = asyncio.run(values_containing(Connection(broker.bootstrap), MODEL_CONTROL, ""))
    return [json.loads(value) for value in payloads]


def _row(name: str, command: str) -> Any:
    return {"command": command, "model": name, "issued_by": "ana", "occurred_at": 1}


def test_rollback_retires_the_model_promoted_last_until_the_configured_one_decides(
    broker: EmbeddedBroker,
) -> None:
    lines = [
        _run(*words).stdout.strip()
        for words in (
            ["promote", FIRST, "--force"],
            ["model", "promote", SECOND, "--force"],
            ["rollback"],
            ["model", "rollback"],
        )
    ]
    done = _run("rollback")

    assert lines == [
        f"{FIRST} decides, on workers that have it in SESSION_RISK_MODEL_DIR",
        f"{SECOND} decides, on workers that have it in SESSION_RISK_MODEL_DIR",
        f"{SECOND} is retired; {FIRST} decides again, on workers that have it",
        f"{FIRST} is retired; default decides again, on workers that have it",
    ]
    assert (done.exit_code, done.stderr) == (
        1,
        "session-risk: no model was promoted: default, the configured model, decides\n",
    )
    rows = [(order["command"], order["model"], order["issued_by"]) for order in _orders(broker)]
    assert rows == [
        (command, name, getuser())
        for command, name in (("promote", FIRST), ("promote", SECOND), ("retire", SECOND), ("retire", FIRST))
    ]


def test_a_model_that_was_rolled_back_can_be_promoted_again(broker: EmbeddedBroker) -> None:
    rows = [_row(FIRST, "promote"), _row(FIRST, "retire"), _row(FIRST, "promote")]
    records = [(MODEL_CONTROL, row["model"].encode(), json.dumps(row).encode()) for row in rows]
    asyncio.run(produce(Connection(broker.bootstrap), records))

    assert _run("rollback").stdout == f"{FIRST} is retired; default decides again, on workers that have it\n"


def test_a_challenger_is_shadowed_under_either_name(broker: EmbeddedBroker) -> None:
    lines = {_run(*words, FIRST).stdout for words in (["shadow"], ["model", "shadow"])}

    assert lines == {f"{FIRST} is a challenger, on workers that have it in SESSION_RISK_MODEL_DIR\n"}
    assert [order["command"] for order in _orders(broker)] == ["shadow", "shadow"]


@pytest.mark.parametrize("name", ["promote", "shadow", "rollback"])
def test_a_short_name_is_the_command_of_the_group_itself(name: str) -> None:
    assert main.commands[name] is model.command.commands[name]


@pytest.mark.parametrize(
    ("orders", "names"),
    [
        ([], ["default"]),
        ([("a", "promote"), ("b", "promote")], ["b", "a", "default"]),
        ([("a", "promote"), ("b", "retire")], ["a", "default"]),
        ([("a", "shadow")], ["default"]),
        ([("default", "retire")], []),
        ([("a", "promote"), ("default", "promote")], ["default", "a"]),
    ],
)
def test_models_decide_in_the_order_in_which_they_were_promoted(
    orders: list[tuple[str, str]], names: list[str]
) -> None:
    assert succession({name: _row(name, what) for name, what in orders}, "default") == names
