"""Cohorts of two tenants: training, the card, the bytes, and the scores of new sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from models.artefacts import ROLES, load, load_roles, pack, save, unpack
from models.events.columns import PRINCIPAL_KIND
from models.events.text_hashing import short_fingerprint
from models.features.table import FEATURE_NAMES
from models.roles.cohorts import Cohorts
from models.roles.roles import VOLUMES
from models.state.table import ROLES as ROLES_OF_A_KIND
from pipeline.cli import main
from pipeline.offline.replay.recording import write
from pipeline.offline.training.datasets import data_in
from pipeline.offline.training.roles import with_tenant_cohorts
from pipeline.offline.training.scored_by import with_roles_of_vectors
from pipeline.sources.ground_truth import Truth
from schemas.topics import API_CALLS
from tests.support.exports import exported, files, vector
from tests.support.histories import now, repeated
from tests.support.role_samples import sample_roles
from tests.support.run_processors import found, replayed
from tests.support.samples import T0, call

HUMAN = PRINCIPAL_KIND["human"]

LARGE, USUAL = "acme-holding", "birch-bakery"
READ: dict[str, Any] = {"sensitivity": "confidential", "operation": "GET /orders"}
TENANTS = ((LARGE, 60, 200), (USUAL, 270, 20), ("cedar-cafe", 10, 20))
"""Tenants, how many sessions were recorded of each, and how many records each of their calls reads."""


def life() -> Iterator[dict[str, Any]]:
    for tenant, sessions, records in TENANTS:
        for number in range(sessions):
            subject = {"tenant": tenant, "session_id": f"s-{number}", "principal_id": f"p-{number}"}
            for at in range(10):
                fields = {"event_id": f"{tenant}-{number}-{at}", "records": records, **READ}
                yield call(20 * at + number / 100, **subject, **fields)


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def train(data: Path, out: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(run("train", data, "--out", out, "--name", "toy", "--json"))
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


def test_the_card_lists_the_tenants_with_cohorts_of_their_own(model: Path) -> None:
    cohorts = json.loads((model / "card.json").read_text("utf-8"))["cohorts"]

    assert (cohorts["tenants_in_the_data"], cohorts["with_cohorts_of_their_own"]) == (3, 2)
    assert cohorts["tenants"] == [
        {"tenant": f"{short_fingerprint(USUAL):08x}", "sessions": 270, "roles": 1, "kinds": ["human"]},
        {"tenant": f"{short_fingerprint(LARGE):08x}", "sessions": 60, "roles": 1, "kinds": ["human"]},
    ]
    assert f"| {short_fingerprint(USUAL):08x} | 270 | 1 | human |" in (model / "card.md").read_text("utf-8")


def test_a_model_contains_no_name_of_a_tenant(model: Path) -> None:
    everything = [path.read_bytes() for path in model.iterdir() if path.suffix != ".npz"]
    for path in model.glob("*.npz"):
        everything += [str(array.tolist()).encode() for array in unpack(path.read_bytes()).values()]

    assert [name for name, _, _ in TENANTS if any(name.encode() in content for content in everything)] == []


def test_the_same_recording_and_seed_give_the_same_bytes(model: Path, recording: Path, tmp_path: Path) -> None:
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


# --- from vectors -----------------------------------------------------------------------------------------


def vectors(tenant: str, records: float, sessions: int, **overrides: Any) -> list[dict[str, Any]]:
    """Vectors of a model's: of each session four, at calls in role 0."""
    by_key = {**dict.fromkeys(FEATURE_NAMES, 0.0), "sensitive_records_10m": records}
    return [
        vector(
            number,
            T0 + number,
            tenant=tenant,
            session_id=f"{tenant}-{number // 4}",
            event_id=f"{tenant}-{number}",
            values=by_key,
            **{"role": 0, **overrides},
        )
        for number in range(4 * sessions)
    ]


def learned(folder: Path, *parts: list[dict[str, Any]]) -> Cohorts:
    """The cohorts that the roles of the model toy@1, which have one already, learn from an export of *parts*."""
    exported(folder, [fields for part in parts for fields in part], truth=ATTACKED)
    known = {"toy@1": sample_roles(7, "of old")}
    data = with_tenant_cohorts(with_roles_of_vectors(data_in(folder), known))
    assert data.roles is not None
    return data.roles.cohorts


ATTACKED = tuple(
    Truth(tenant="bad", session_id=f"bad-{at}", label="attack", family="theft", started_at=T0, ended_at=T0)
    for at in range(50)
)


def test_an_export_teaches_what_is_usual_at_its_tenants_even_at_a_single_one(tmp_path: Path) -> None:
    cohorts = learned(tmp_path / "export", vectors(LARGE, 5_000.0, 90))

    at = VOLUMES.index("sensitive_records_10m")
    everybody = sample_roles(7).usual[HUMAN, 0, at]
    assert cohorts.tenants.tolist() == [short_fingerprint(LARGE)]
    assert cohorts.sessions[0, HUMAN].tolist() == [90, *[0] * (ROLES_OF_A_KIND - 1), 90]
    np.testing.assert_allclose(cohorts.usual[0, HUMAN, 0, at], (1 + everybody) ** 0.25 * 5_001.0**0.75 - 1)


def test_vectors_of_attacks_of_other_models_and_without_a_role_teach_nothing(tmp_path: Path) -> None:
    cohorts = learned(
        tmp_path / "export",
        vectors(USUAL, 9.0, 40),
        vectors("bad", 9.0, 50),
        vectors("elsewhere", 9.0, 50, model="other@1"),
        vectors("unclear", 9.0, 50, role=None),
    )

    assert cohorts.tenants.tolist() == [short_fingerprint(USUAL)]


def test_an_export_with_too_few_vectors_leaves_the_cohorts_of_tenants_unchanged(tmp_path: Path) -> None:
    cohorts = learned(tmp_path / "export", vectors(USUAL, 9.0, 29))

    assert cohorts.tenants.tolist() == [short_fingerprint("of old")]


def test_what_a_replay_logged_and_its_export_teach_what_the_recording_taught(
    model: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.toml").write_text("low_features_share = 1.0\n", "utf-8")
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(model.parent))
    monkeypatch.setenv("SESSION_RISK_MODEL", model.name)
    monkeypatch.setenv("SESSION_RISK_POLICY_FILE", str(tmp_path / "policy.toml"))
    run("replay", recording, "--out", tmp_path / "replayed")
    run("export", "--from", tmp_path / "replayed", "--out", tmp_path / "export")

    # Another model has been configured since, with other roles; the vectors name the one that scored them.
    copytree(model, tmp_path / "models" / model.name)
    save(replace(load(model), name="later"), tmp_path / "models" / "later", {}, {ROLES: pack(sample_roles(9).arrays)})
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SESSION_RISK_MODEL", "later")

    cohorts = [train(tmp_path / data, tmp_path / f"{data}-model")["cohorts"] for data in ("replayed", "export")]

    assert cohorts[0] == cohorts[1]
    assert {item["tenant"] for item in cohorts[0]["tenants"]} == {
        f"{short_fingerprint(USUAL):08x}",
        f"{short_fingerprint(LARGE):08x}",
    }
