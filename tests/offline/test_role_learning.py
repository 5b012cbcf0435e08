"""Role learning from a recording, and roles stored with a model."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artefacts import CARD, ROLES, BadModel, load_roles, pack, save
from models.detectors.trained import Trained, fit
from models.events.columns import PRINCIPAL_KIND
from models.features.table import FEATURES
from models.roles.cohorts import QUANTILES
from models.roles.roles import VOLUMES
from pipeline.offline.replay.recording import write
from pipeline.offline.training.roles import learn_roles
from tests.support.role_samples import sample_roles
from tests.support.samples import auth, call

HUMAN, AGENT = PRINCIPAL_KIND["human"], PRINCIPAL_KIND["agent"]


def recording(folder: Path, *events: dict[str, Any]) -> Path:
    """A recording of *events*, and of one unreadable line."""
    with write(folder) as writer:
        writer.line("api-calls", b'{"type":"api.call"}')
        for event in events:
            topic = "auth-events" if event["type"] == "auth.event" else "api-calls"
            fields = {name: value for name, value in event.items() if value is not None}
            writer.event(topic, fields)
    return folder


def working(session: str, operations: list[str], **overrides: Any) -> list[dict[str, Any]]:
    return [
        call(at, session_id=session, operation=name, event_id=f"{session}-{at}", **overrides)
        for at, name in enumerate(operations)
    ]


def test_a_recording_teaches_what_is_called_and_how_much_is_usual(tmp_path: Path) -> None:
    events = [fields for at in range(60) for fields in working(f"s-{at}", ["GET /a", "GET /b"] * 10, records=3)]

    roles = learn_roles(recording(tmp_path / "r", auth(), *events), left_out=(), seed=7)

    assert roles is not None
    assert set(roles.operations.tolist()) == {"GET /a", "GET /b"}
    assert roles.labels[HUMAN, 0].startswith("human: GET /")
    median = roles.usual[HUMAN, 0, :, QUANTILES.index(0.5)]
    assert median[VOLUMES.index("calls_10m")] == pytest.approx(10.4, abs=0.2)
    assert median[VOLUMES.index("records_10m")] == pytest.approx(31.2, abs=0.6)
    assert (roles.usual[AGENT] == roles.usual[0]).all()


def test_the_same_recording_teaches_the_same_bytes_and_what_is_left_out_teaches_nothing(
    tmp_path: Path,
) -> None:
    honest = [fields for at in range(12) for fields in working(f"s-{at}", ["GET /a", "GET /b"] * 10)]
    odd = working("odd", ["DELETE /all"] * 30)
    without = recording(tmp_path / "without", *honest)
    whole = recording(tmp_path / "whole", *honest, *odd)

    taught = [
        learn_roles(without, left_out=(), seed=7),
        learn_roles(without, left_out=(), seed=7),
        learn_roles(whole, left_out={("default", "odd")}, seed=7),
    ]
    all_of_it = learn_roles(whole, left_out=(), seed=7)

    assert len({roles and roles.tag for roles in taught}) == 1
    assert all_of_it is not None
    assert "DELETE /all" in all_of_it.operations.tolist()


def test_a_recording_without_calls_teaches_no_roles(tmp_path: Path) -> None:
    assert learn_roles(recording(tmp_path / "r", auth()), left_out=(), seed=7) is None


# --- on disk ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> Trained:
    values = np.random.default_rng(7).lognormal(1.0, 1.0, (1_000, len(FEATURES)))
    return fit(values, np.full(1_000, HUMAN, np.uint8), name="toy", seed=7)


def test_roles_come_back_from_disk_as_they_were(detector: Trained, tmp_path: Path) -> None:
    roles = sample_roles()
    save(detector, tmp_path / "with", {}, {ROLES: pack(roles.arrays)})
    save(detector, tmp_path / "again", {}, {ROLES: pack(roles.arrays)})
    save(detector, tmp_path / "without", {})

    back = load_roles(tmp_path / "with")

    assert back is not None
    assert back.tag == roles.tag
    assert (tmp_path / "with" / ROLES).read_bytes() == (tmp_path / "again" / ROLES).read_bytes()
    assert load_roles(tmp_path / "without") is None


def _spoil(folder: Path, roles: bytes, *, vouched: bool) -> None:
    (folder / ROLES).write_bytes(roles)
    if vouched:
        card = json.loads((folder / CARD).read_text("utf-8"))
        card["sha256"][ROLES] = sha256(roles).hexdigest()
        (folder / CARD).write_text(json.dumps(card), "utf-8")


@pytest.mark.parametrize(
    ("vouched", "why"), [(False, "changed since it was trained"), (True, "not a model of this version")]
)
def test_changed_or_invalid_roles_are_refused(vouched: bool, why: str, detector: Trained, tmp_path: Path) -> None:
    save(detector, tmp_path, {}, {ROLES: pack(sample_roles().arrays)})
    _spoil(tmp_path, b"not an archive", vouched=vouched)

    with pytest.raises(BadModel, match=why):
        load_roles(tmp_path)


def test_roles_that_the_card_names_must_be_there(detector: Trained, tmp_path: Path) -> None:
    save(detector, tmp_path, {}, {ROLES: pack(sample_roles().arrays)})
    (tmp_path / ROLES).unlink()

    with pytest.raises(BadModel, match="no readable model"):
        load_roles(tmp_path)
