"""A model learns from logged vectors with the roles with which they were scored, whatever is configured now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.artefacts import ROLES, SHIPPED, BadModel, load, load_roles, pack, save
from models.detectors.base import NoDetector
from models.roles.roles import Roles
from pipeline.control.active import tag_of
from pipeline.offline.training.scored_by import with_roles_of_vectors
from pipeline.offline.training.train import Data
from pipeline.offline.training.vectors import Row, Vectors
from schemas.decisions import SessionFeatures
from tests.offline.test_training import json_of, life, run
from tests.support.exports import exported, vector
from tests.support.role_samples import sample_roles

SPRING, SUMMER = sample_roles(1), sample_roles(2)
KNOWN: dict[str, Roles | None] = {"a@1": SPRING, "a@2": SPRING, "b@1": SUMMER, NoDetector.id: None}


def data(*models: str) -> Data:
    """Vectors that were scored by *models*, one each."""
    rows = [Row.of(SessionFeatures.model_validate(vector(number, model=model))) for number, model in enumerate(models)]
    return Data(Vectors.of(rows), 1.0, "export")


@pytest.mark.parametrize(
    ("models", "roles", "kept", "left_out"),
    [
        (["a@1", "a@1"], SPRING, ["a@1", "a@1"], {}),
        (["b@1", "a@1", "b@1"], SUMMER, ["b@1", "b@1"], {"a@1": 1}),
        (["a@1", "b@1", "b@1", "a@2", "a@2"], SPRING, ["a@1", "a@2", "a@2"], {"b@1": 2}),
        (["gone@1", "gone@1", "gone@1", "b@1"], SUMMER, ["b@1"], {"gone@1": 3}),
        (["none", "none", "a@1"], None, ["none", "none"], {"a@1": 1}),
    ],
)
def test_the_roles_are_those_with_which_most_vectors_were_scored_and_others_are_left_out(
    models: list[str], roles: Roles | None, kept: list[str], left_out: dict[str, int]
) -> None:
    found = with_roles_of_vectors(data(*models), KNOWN)

    assert tag_of(found.roles) == tag_of(roles)
    assert found.vectors.model.tolist() == kept
    assert found.left_out == left_out


def test_vectors_of_models_that_are_not_known_are_refused() -> None:
    with pytest.raises(
        BadModel, match=r"the vectors were scored by gone@1, lost@1, .* put its folder into SESSION_RISK"
    ):
        with_roles_of_vectors(data("lost@1", "gone@1"), KNOWN)


# --- The command ------------------------------------------------------------------------------------------


def roles_of(folder: Path) -> int:
    return tag_of(load_roles(folder))


def test_a_model_learns_with_the_roles_of_the_model_that_its_vectors_name_not_of_the_configured_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = load(SHIPPED / "default")
    scored_by, configured = (
        replace(default, name=name, knots=default.knots + shift) for name, shift in (("before", 1.0), ("now", 2.0))
    )
    for detector, roles in ((scored_by, SPRING), (configured, SUMMER)):
        save(detector, tmp_path / "models" / detector.name, {}, {ROLES: pack(roles.arrays)})
    (tmp_path / "models" / "broken").mkdir()
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SESSION_RISK_MODEL", "now")
    exported(tmp_path / "data", [{**row, "model": scored_by.id} for row in life()])

    json_of("train", tmp_path / "data", "--out", tmp_path / "toy", "--name", "toy")

    assert roles_of(tmp_path / "toy") == roles_of(tmp_path / "models" / "before")
    assert roles_of(tmp_path / "toy") != roles_of(tmp_path / "models" / "now")


def test_the_model_that_ships_is_known_even_if_other_models_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(tmp_path / "none"))
    exported(tmp_path / "data", [*life()])

    json_of("train", tmp_path / "data", "--out", tmp_path / "toy")

    assert roles_of(tmp_path / "toy") == roles_of(SHIPPED / "default") != 0


def test_what_was_scored_without_a_model_teaches_one_without_roles(tmp_path: Path) -> None:
    exported(tmp_path / "data", [{**row, "model": NoDetector.id} for row in life()])

    json_of("train", tmp_path / "data", "--out", tmp_path / "toy")

    assert roles_of(tmp_path / "toy") == 0


def test_vectors_that_are_left_out_are_counted_on_the_terminal_and_in_the_card(tmp_path: Path) -> None:
    exported(tmp_path / "data", [{**row, "model": "gone@1"} if at < 70 else row for at, row in enumerate(life())])

    done = run("train", tmp_path / "data", "--out", tmp_path / "toy")

    card = json.loads((tmp_path / "toy" / "card.json").read_text("utf-8"))
    assert (done.exit_code, done.stderr) == (
        0,
        (
            "session-risk: 70 vectors are left out: gone@1 scored them with other roles than those of most vectors, "
            "or with roles that are not known\n"
        ),
    )
    assert card["data"]["scored_with_other_roles_left_out"] == {"gone@1": 70}


def test_an_export_whose_model_is_gone_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / "data", [{**row, "model": "gone@1"} for row in life()])

    done = run("train", tmp_path / "data", "--out", tmp_path / "toy")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"session-risk: {tmp_path / 'data'}: the vectors were scored by gone@1, and a model")
    assert not (tmp_path / "toy").exists()
