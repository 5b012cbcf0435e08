"""Which models there are, which decides, and which would after a rollback."""

from __future__ import annotations

import json
from getpass import getuser
from typing import Any

import pytest

from models.artefacts import CARD
from pipeline.control.inventory import inventory
from pipeline.control.reloader import Models
from tests.support.model_desk import Desk, desk
from tests.support.model_workers import CALM, put

__all__ = ["desk"]  # a fixture

NAMES = ("a", "b", "c", "usual")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Four models that can be loaded, a folder that is none, and what a training left unfinished."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        put(folder / name, CALM)
    (folder / "broken").mkdir()
    (folder / ".a-unfinished").mkdir()
    return Models(folder)


def uses(models: Models, *orders: tuple[str, str]) -> dict[str, str]:
    """What each model is used for after *orders*, (model, command)."""
    newest: dict[str, Any] = {}
    for name, command in orders:
        newest.pop(name, None)
        newest[name] = {"command": command, "model": name, "mode": None, "issued_by": "ana", "occurred_at": 1}
    return {model.name: model.use for model in inventory(models, newest, "usual")}


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((), {"usual": "decides"}),
        ((("a", "promote"),), {"a": "decides", "usual": "previous"}),
        ((("a", "promote"), ("b", "promote")), {"b": "decides", "a": "previous", "usual": "promoted"}),
        ((("a", "promote"), ("b", "promote"), ("b", "retire")), {"a": "decides", "usual": "previous", "b": "retired"}),
        ((("a", "promote"), ("a", "shadow")), {"usual": "decides", "a": "challenger"}),
        ((("broken", "promote"),), {"usual": "decides", "broken": "promoted"}),
        ((("gone", "promote"), ("b", "promote")), {"b": "decides", "usual": "previous", "gone": "promoted"}),
        ((("usual", "retire"),), {"usual": "retired"}),
        ((("usual", "retire"), ("c", "shadow")), {"usual": "retired", "c": "challenger"}),
        ((("gone", "shadow"),), {"usual": "decides", "gone": "challenger"}),
        ((("*", "mode"),), {"usual": "decides"}),
    ],
)
def test_the_first_of_the_succession_that_can_be_loaded_decides(
    models: Models, orders: tuple[tuple[str, str], ...], expected: dict[str, str]
) -> None:
    assert uses(models, *orders) == {**dict.fromkeys([*NAMES, "broken"], "unused"), **expected}


def test_models_are_listed_by_use_and_then_by_name(models: Models) -> None:
    assert list(uses(models, ("c", "shadow"), ("b", "promote"))) == ["b", "usual", "c", "a", "broken"]


def test_a_model_that_cannot_be_loaded_is_listed_with_the_reason(models: Models) -> None:
    listed = {model.name: model for model in inventory(models, {}, "usual")}

    assert (listed["broken"].id, listed["broken"].card) == (None, {})
    assert listed["broken"].problem.startswith(f"{models.folder / 'broken'}: no readable model")
    assert (listed["a"].problem, listed["a"].card["id"]) == ("", listed["a"].id)


# --- The commands -----------------------------------------------------------------------------------------


def test_a_list_says_what_decides_and_what_would_after_a_rollback(desk: Desk) -> None:
    (desk.models / "broken").mkdir()
    desk.promote("odd")
    desk.run("shadow", "calmer")

    found, lines = json.loads(desk.run("model", "list", "--json").stdout), desk.run("model", "list").stdout.splitlines()

    assert found["decides"] == "odd"
    assert [(model["name"], model["use"], model["id"]) for model in found["models"]] == [
        ("odd", "decides", desk.ids["odd"]),
        ("calm", "previous", desk.ids["calm"]),
        ("calmer", "challenger", desk.ids["calmer"]),
        ("broken", "unused", None),
    ]
    assert found["models"][0]["order"]["issued_by"] == getuser()
    assert lines[0] == f"{desk.ids['odd']} decides"
    assert [line.split()[:3] for line in lines[2:6]] == [
        ["odd", "decides", desk.ids["odd"]],
        ["calm", "previous", desk.ids["calm"]],
        ["calmer", "challenger", desk.ids["calmer"]],
        ["broken", "unused", "–"],
    ]
    assert lines[-1].startswith(f"broken (unused) cannot be loaded here: {desk.models / 'broken'}: no readable model")


def test_a_model_is_shown_with_its_use_and_its_card_and_without_a_name_the_one_that_decides(desk: Desk) -> None:
    first, other = (json.loads(desk.run("model", "show", *name, "--json").stdout) for name in ((), ("odd",)))
    shown = desk.run("model", "show", "odd").stdout.splitlines()

    assert [(model["name"], model["use"], model["order"]) for model in (first, other)] == [
        ("calm", "decides", None),
        ("odd", "unused", None),
    ]
    assert other["card"] == json.loads((desk.models / "odd" / CARD).read_text("utf-8"))
    lines = [line.split() for line in shown]
    assert ["model", desk.ids["odd"]] in lines
    assert ["use", "unused"] in lines
    assert ["area", "under", "the", "ROC", "curve", str(other["card"]["metrics"]["auc"])] in lines


def test_a_model_that_is_not_there_or_cannot_be_loaded_is_an_error(desk: Desk) -> None:
    (desk.models / "broken").mkdir()
    done, broken = desk.run("model", "show", "gone"), desk.run("model", "show", "broken")
    desk.run("model", "retire", "calm")
    nothing = desk.run("model", "show")

    assert (done.exit_code, done.stderr) == (
        2,
        "session-risk: there is no model gone; known are: calm, broken, calmer, odd\n",
    )
    assert broken.exit_code == 2
    assert broken.stderr.startswith("session-risk: model broken, unused, cannot be loaded: ")
    assert (nothing.exit_code, nothing.stderr) == (2, "session-risk: no model decides, only detections\n")
    assert desk.run("model", "list").stdout.splitlines()[0] == "no model decides, only detections"


def test_with_the_models_that_ship_the_default_one_decides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSION_RISK_MODEL_DIR")
    monkeypatch.delenv("SESSION_RISK_MODEL")

    (listed,) = json.loads(desk.run("model", "list", "--json").stdout)["models"]

    assert (listed["name"], listed["use"], listed["problem"]) == ("default", "decides", None)
