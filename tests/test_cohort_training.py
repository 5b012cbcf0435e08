"""From what two tenants did to cohorts: training, the card, the bytes, and newcomers held against them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from histories import now, repeated
from models.artefact import ROLES, load_roles
from models.fingerprint import brief
from models.npz import unpack
from pipeline.cli import main
from pipeline.recording import write
from playing import found, replayed
from samples import call
from schemas.topics import API_CALLS
from test_export import files

LARGE, USUAL = "acme-holding", "birch-bakery"
READ: dict[str, Any] = {"sensitivity": "confidential", "operation": "GET /orders"}
TENANTS = ((LARGE, 60, 200), (USUAL, 270, 20), ("cedar-cafe", 10, 20))
"""Tenants, how many sessions were recorded of each, and how many records each of their calls reads."""


def life() -> Iterator[dict[str, Any]]:
    for tenant, sessions, records in TENANTS:
        for number in range(sessions):
            who = {"tenant": tenant, "session_id": f"s-{number}", "principal_id": f"p-{number}"}
            for at in range(10):
                told = {"event_id": f"{tenant}-{number}-{at}", "records": records, **READ}
                yield call(20 * at + number / 100, **who, **told)


def train(data: Path, out: Path) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["train", str(data), "--out", str(out), "--name", "toy", "--json"])
    assert done.exit_code == 0, done.output
    card: dict[str, Any] = json.loads(done.stdout)
    return card


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "recording"
    with write(folder) as writer:
        for event in sorted(life(), key=lambda event: int(event["occurred_at"])):
            writer.event(API_CALLS, {name: value for name, value in event.items() if value is not None})
    return folder


@pytest.fixture(scope="module")
def model(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    train(recording, folder)
    return folder


def test_the_card_tells_which_tenants_have_cohorts_of_their_own(model: Path) -> None:
    cohorts = json.loads((model / "card.json").read_text("utf-8"))["cohorts"]

    assert (cohorts["tenants_in_the_data"], cohorts["with_cohorts_of_their_own"]) == (3, 2)
    assert cohorts["tenants"] == [
        {"tenant": f"{brief(USUAL):08x}", "sessions": 270, "roles": 1, "kinds": ["human"]},
        {"tenant": f"{brief(LARGE):08x}", "sessions": 60, "roles": 1, "kinds": ["human"]},
    ]
    assert f"| {brief(USUAL):08x} | 270 | 1 | human |" in (model / "card.md").read_text("utf-8")


def test_a_model_tells_no_tenants_name(model: Path) -> None:
    everything = [path.read_bytes() for path in model.iterdir() if path.suffix != ".npz"]
    for path in model.glob("*.npz"):
        everything += [str(array.tolist()).encode() for array in unpack(path.read_bytes()).values()]

    assert [name for name, _, _ in TENANTS if any(name.encode() in one for one in everything)] == []


def test_the_same_recording_and_seed_give_the_same_bytes(
    model: Path, recording: Path, tmp_path: Path
) -> None:
    train(recording, tmp_path / "again")

    assert files(tmp_path / "again") == files(model)
    assert {"tenants", "tenant_usual", "tenant_sessions"} <= set(unpack((model / ROLES).read_bytes()))


def test_a_newcomer_may_read_what_is_usual_at_its_tenant(model: Path) -> None:
    much = repeated(15, 20, records=200, **READ)

    detected = {
        tenant: "mass_read" in found(replayed(now(much, tenant=tenant), roles=load_roles(model)), "s-1")
        for tenant in (LARGE, USUAL)
    }

    assert detected == {LARGE: False, USUAL: True}
