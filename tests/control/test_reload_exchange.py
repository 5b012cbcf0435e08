"""Exchange of models while events arrive: no event is lost, and no session state is forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.artefacts import BadModel, save
from models.detectors.trained import fit
from models.events.columns import Columns
from models.features.table import FEATURES
from pipeline.control.reloader import ConfigReloader, InitialConfig, Models
from pipeline.sessions.processor import Options, SessionProcessor
from schemas.topics import SESSION_FEATURES, SESSION_RISK
from tests.support.active_config import Desk, write_policy
from tests.support.run_processors import Player
from tests.support.samples import auth, call


@pytest.fixture
def all_logged(tmp_path: Path) -> Path:
    """A policy under which every vector that is scored is logged."""
    write_policy(tmp_path / "policy.toml", "low_features_share = 1.0", at=1)
    return tmp_path / "policy.toml"


def _stage(desk: Desk) -> Player:
    return Player(SessionProcessor(desk.in_force.active, Columns(bytes(16)), Options()))


def test_a_model_is_exchanged_between_two_chunks_and_no_event_is_lost(all_logged: Path) -> None:
    desk = Desk(policy_file=all_logged)
    stage = _stage(desk)
    events = [auth(0), *(call(at, event_id=f"c-{at}") for at in range(1, 100))]

    stage.play(events[0])
    stage.play(*events[1:50])
    desk.order("promote", "new")
    stage.play(*events[50:])

    pairs = [(event["event_id"], event["model"]) for event in stage.output(SESSION_FEATURES)]
    assert pairs == [
        *((event["event_id"], "default@0") for event in events[:50]),
        *((event["event_id"], "new@0") for event in events[50:]),
    ]


def test_an_exchange_forgets_nothing_of_a_session() -> None:
    reading = [call(at, records=300, sensitivity="restricted") for at in (1, 2, 3, 4, 5)]
    desk = Desk()
    stage = _stage(desk)

    stage.each(auth(0), *reading[:3])
    desk.order("promote", "new")
    stage.each(*reading[3:])

    decisions = [(event["level"], event["model"]) for event in stage.output(SESSION_RISK)]
    assert decisions == [("MEDIUM", "default@0"), ("HIGH", "new@0")]


def test_a_model_that_cannot_be_loaded_stops_nothing(all_logged: Path) -> None:
    desk = Desk(frozenset({"bad"}), all_logged)
    stage = _stage(desk)

    stage.play(auth(0))
    desk.order("promote", "bad")
    stage.play(call(1))

    assert [event["model"] for event in stage.output(SESSION_FEATURES)] == ["default@0"] * 2
    assert desk.complaints == ["model bad cannot be used: bad is broken"]


# --- models on disk ---------------------------------------------------------------------------------------


def test_models_are_folders_by_name(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1_000, len(FEATURES)))
    detector = fit(values, np.zeros(1_000, np.uint8), name="new", seed=1)
    save(detector, tmp_path / "new", {})
    in_force = ConfigReloader(InitialConfig(model="new", models=Models(tmp_path)))

    assert in_force.champion == detector.id


@pytest.mark.parametrize("name", ["absent", "../new", "..", ""])
def test_a_name_that_is_no_model_keeps_a_worker_from_beginning(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadModel):
        ConfigReloader(InitialConfig(model=name, models=Models(tmp_path)))
