"""`session-risk revocations`: the state of revocations, from the transmitter's store."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from pipeline.cli import main
from pipeline.commands.revocations import STATES
from pipeline.offline.docs.settings_page import table
from pipeline.settings.loading import load_transmitter
from pipeline.transmitter.store.database import open_configured_store
from pipeline.transmitter.store.revocations import confirm, record
from pipeline.transmitter.store.tables import commands

NOW = int(time.time() * 1000)
MINUTE = 60_000
LONG = 30 * 86_400_000


def _command(name: str, **overrides: Any) -> dict[str, Any]:
    usual = {"tenant": "acme", "session_id": f"s-{name}", "principal_id": "ana", "decision_id": f"d-{name}"}
    times = {"decided_at": NOW - MINUTE, "deadline": NOW + LONG}
    return {"revocation_id": f"r-{name}", **usual, **times, **overrides}


def _ack(name: str, outcome: str = "revoked") -> dict[str, Any]:
    subject = {"tenant": "acme", "session_id": f"s-{name}", "revocation_id": f"r-{name}"}
    return {**subject, "outcome": outcome, "occurred_at": NOW - MINUTE + 2_500, "enforcer": "gateway"}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store is, or is yet to be."""
    for row in table():
        monkeypatch.delenv(row.env, raising=False)
    path = tmp_path / "store.db"
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", f"sqlite:///{path}")
    return path


@pytest.fixture
def store(database: Path) -> Path:
    """A store with a command in every state; the overdue one is still stored as delivered."""
    records = [
        _command("open", decided_at=NOW - 1 * MINUTE),
        _command("delivered", decided_at=NOW - 2 * MINUTE),
        _command("confirmed", decided_at=NOW - 1 * MINUTE),
        _command("failed", decided_at=NOW - 3 * MINUTE),
        _command("overdue", decided_at=NOW - 4 * MINUTE, deadline=NOW - MINUTE),
    ]
    store = open_configured_store(load_transmitter())
    with store.begin() as conn:
        record(conn, records)
        record(conn, [{**records[0], "deadline": records[0]["deadline"] + 1}])
        confirm(conn, [_ack("confirmed"), _ack("failed", "failed")])
        change = update(commands).where(commands.c.revocation_id == "r-delivered")
        conn.execute(change.values(state="delivered", delivered_at=NOW))
    store.close()
    return database


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["revocations", *arguments])


def _received(*arguments: str) -> list[dict[str, Any]]:
    done = _run("--json", *arguments)
    assert done.exit_code == 0, done.output
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return records


@pytest.mark.parametrize("state", STATES)
def test_of_each_state_those_are_listed_that_are_so_now(store: Path, state: str) -> None:
    assert [(fields["revocation_id"], fields["state"]) for fields in _received("--state", state)] == [
        (f"r-{state}", state)
    ]


def test_all_are_listed_the_newest_first_and_no_more_than_asked_for(store: Path) -> None:
    names = [fields["revocation_id"] for fields in _received()]

    assert names[2:] == ["r-delivered", "r-failed", "r-overdue"]
    assert set(names[:2]) == {"r-open", "r-confirmed"}
    assert len(_received("--most", "2")) == 2


def test_json_output_has_all_fields(store: Path) -> None:
    assert _received("--state", "confirmed") == [
        {
            **_command("confirmed"),
            "sends": 1,
            "state": "confirmed",
            "delivered_at": None,
            "confirmed_at": NOW - MINUTE + 2_500,
            "outcome": "revoked",
            "enforcer": "gateway",
        }
    ]


def test_the_table_shows_who_confirmed_and_how_long_it_took(store: Path) -> None:
    lines = [" ".join(line.split()) for line in _run().stdout.splitlines()]

    assert any("s-confirmed confirmed 1 gateway: revoked, after 2.5 s" in line for line in lines), lines
    assert any("s-open open 2 due" in line for line in lines), lines
    assert lines[-1] == "1 open, 1 delivered, 1 confirmed, 1 failed, 1 overdue"


def test_a_missing_store_is_not_created(database: Path) -> None:
    done = _run()

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        f"session-risk: {database}: there is no transmitter store here; set SESSION_RISK_TRANSMITTER_DATABASE\n"
    )
    assert not database.exists()
