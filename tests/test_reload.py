"""What is in force: the policy file is followed, orders are obeyed, what cannot be used changes nothing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.artefact import BadModel, save
from models.columns import Columns
from models.detector import Detector, NoDetector
from models.detectors.trained import fit
from models.features import FEATURES
from models.roles import Roles
from pipeline.policy import BadPolicy, fitted, parse_policy
from pipeline.reload import ANY_MODEL, Configured, InForce, Models
from pipeline.replay import Memory
from pipeline.scorer import Options, SessionScorer
from playing import Player
from role_samples import sample_roles
from samples import auth, call
from schemas.topics import MODEL_CONTROL, SESSION_FEATURES, SESSION_RISK


class Named(NoDetector):
    """A detector that is only a name."""

    def __init__(self, name: str) -> None:
        self.id = f"{name}@0"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.ones(len(seen))


@dataclass(frozen=True, slots=True)
class Shelf(Models):
    """Models that need no folder; those in *broken* cannot be loaded."""

    broken: frozenset[str] = frozenset()

    def load(self, name: str) -> Detector:
        if name in self.broken:
            raise BadModel(f"{name} is broken")
        return Named(name)

    def reference(self, name: str) -> None:
        """Nobody knows what a mere name was trained on."""

    def roles(self, name: str) -> Roles | None:
        return sample_roles(len(name))


@dataclass
class Desk:
    """Something in force, and what it complained of."""

    broken: frozenset[str] = frozenset()
    policy_file: Path | None = None
    mode: Any = None
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        configured = Configured(self.policy_file, "default", self.mode, Shelf(broken=self.broken))
        self.in_force = InForce(configured, self.complaints.append)

    def order(self, command: str, model: str, mode: str | None = None) -> None:
        told = {"command": command, "model": model, "mode": mode, "issued_by": "ana", "occurred_at": 1}
        self.in_force.order(Memory(MODEL_CONTROL, 0, 7, 1, model.encode(), json.dumps(told).encode()))

    def look(self) -> None:
        """Look until what changed has stayed as it is."""
        self.in_force.look()
        self.in_force.look()

    @property
    def stands(self) -> tuple[str | None, str, list[str]]:
        found = self.in_force
        champion = found.brain.detector.id.partition("@")[0]
        return champion, found.brain.judge.policy.mode, sorted(found.challengers)


def _write(path: Path, text: str, at: int) -> None:
    path.write_text(f"{text}\n", encoding="utf-8")
    os.utime(path, (at, at))


# --- The policy file ---


def test_a_changed_policy_is_in_force_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    _write(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)
    before = desk.in_force.brain.judge

    desk.look()
    assert desk.in_force.brain.judge is before

    _write(path, 'name = "two"', at=2)
    desk.look()
    assert desk.in_force.policy == parse_policy('name = "two"', under=fitted())
    assert desk.complaints == []


def test_a_policy_of_another_length_is_seen_within_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    _write(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)

    _write(path, 'name = "another"', at=1)
    desk.look()

    assert desk.in_force.policy.name == "another"


@pytest.mark.parametrize("text", ["name = 3", "nonsense", 'prior = "high"', None])
def test_a_bad_policy_is_reported_once_and_the_old_one_stays(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "policy.toml"
    _write(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)

    if text is None:
        path.unlink()
    else:
        _write(path, text, at=2)
    desk.look()
    desk.look()

    assert desk.in_force.policy.name == "one"
    (complaint,) = desk.complaints
    assert complaint.startswith(f"the policy stays {desk.in_force.policy.id}: {path}")

    _write(path, 'name = "three"', at=3)
    desk.look()
    assert desk.in_force.policy.name == "three"


def test_a_bad_policy_keeps_a_worker_from_beginning(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    _write(path, "nonsense", at=1)

    with pytest.raises(BadPolicy, match="not TOML"):
        Desk(policy_file=path)


def test_the_mode_of_the_settings_outlives_a_change_of_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    _write(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path, mode="observe")

    _write(path, 'name = "two"\nmode = "enforce"', at=2)
    desk.look()

    assert (desk.in_force.policy.name, desk.in_force.policy.mode) == ("two", "observe")


# --- Orders ---


def test_nothing_ordered_leaves_what_is_configured() -> None:
    assert Desk().stands == ("default", "enforce", [])


def test_the_model_promoted_last_decides_and_promoting_the_old_one_goes_back() -> None:
    desk = Desk()
    seen = []
    for name in ("new", "newer", "new"):
        desk.order("promote", name)
        seen.append(desk.stands[0])

    assert seen == ["new", "newer", "new"]


def test_a_retired_champion_gives_way_to_the_one_promoted_before() -> None:
    desk = Desk()
    desk.order("promote", "new")
    desk.order("promote", "newer")

    desk.order("retire", "newer")
    assert desk.stands[0] == "new"
    desk.order("retire", "new")
    assert desk.stands[0] == "default"
    desk.order("retire", "default")
    assert desk.stands[0] == "none"
    assert desk.in_force.champion is None


def test_a_challenger_is_loaded_and_does_not_decide() -> None:
    desk = Desk()
    desk.order("shadow", "new")
    assert desk.stands == ("default", "enforce", ["new"])

    desk.order("promote", "new")
    assert desk.stands == ("new", "enforce", [])


def test_a_model_that_cannot_be_loaded_is_reported_and_the_champion_stays() -> None:
    desk = Desk(broken=frozenset({"bad"}))
    desk.order("promote", "good")

    desk.order("promote", "bad")

    assert desk.stands == ("good", "enforce", [])
    assert desk.complaints == ["model bad cannot be used: bad is broken"]


def test_the_mode_is_set_for_whichever_model_decides_and_given_back() -> None:
    desk = Desk()
    seen = []
    for mode in ("observe", "enforce", "observe", None):
        desk.order("mode", ANY_MODEL, mode)
        seen.append(desk.stands[:2])

    assert seen == [
        ("default", "observe"),
        ("default", "enforce"),
        ("default", "observe"),
        ("default", "enforce"),
    ]


def test_a_model_that_is_given_a_mode_decides_in_it() -> None:
    desk = Desk()
    desk.order("mode", "new", "observe")

    assert desk.stands == ("new", "observe", [])


def test_what_is_no_order_is_reported_and_changes_nothing() -> None:
    desk = Desk()
    desk.in_force.order(Memory(MODEL_CONTROL, 0, 3, 1, b"new", b'{"command": "crown"}'))

    assert desk.stands == ("default", "enforce", [])
    (complaint,) = desk.complaints
    assert complaint.startswith("model-control, offset 3: no order: ")


def test_challengers_look_on_from_the_next_chunk_and_no_longer_when_they_are_retired() -> None:
    desk = Desk()
    seen = []
    for command in ("shadow", "retire"):
        desk.order(command, "new")
        seen.append([model.id for model in desk.in_force.brain.challengers])

    assert seen == [["new@0"], []]


def test_a_model_that_is_refused_is_known_until_it_is_retired() -> None:
    desk = Desk(broken=frozenset({"bad", "worse"}))
    seen = []
    for order in (("promote", "bad"), ("shadow", "worse"), ("retire", "bad"), ("retire", "worse")):
        desk.order(*order)
        seen.append(sorted(desk.in_force.refused))

    assert seen == [["bad"], ["bad", "worse"], ["worse"], []]


# --- Exchanged while events flow ---


@pytest.fixture
def all_logged(tmp_path: Path) -> Path:
    """A policy under which every vector that is scored is logged."""
    _write(tmp_path / "policy.toml", "low_features_share = 1.0", at=1)
    return tmp_path / "policy.toml"


def _stage(desk: Desk) -> Player:
    return Player(SessionScorer(desk.in_force.brain, Columns(), Options()))


def test_a_model_is_exchanged_between_two_chunks_and_no_event_is_lost(all_logged: Path) -> None:
    desk = Desk(policy_file=all_logged)
    stage = _stage(desk)
    events = [auth(0), *(call(at, event_id=f"c-{at}") for at in range(1, 100))]

    stage.play(events[0])
    stage.play(*events[1:50])
    desk.order("promote", "new")
    stage.play(*events[50:])

    told = [(one["event_id"], one["model"]) for one in stage.said(SESSION_FEATURES)]
    assert told == [
        *((one["event_id"], "default@0") for one in events[:50]),
        *((one["event_id"], "new@0") for one in events[50:]),
    ]


def test_an_exchange_forgets_nothing_of_a_session() -> None:
    reading = [call(at, records=300, sensitivity="restricted") for at in (1, 2, 3, 4, 5)]
    desk = Desk()
    stage = _stage(desk)

    stage.each(auth(0), *reading[:3])
    desk.order("promote", "new")
    stage.each(*reading[3:])

    decisions = [(one["level"], one["model"]) for one in stage.said(SESSION_RISK)]
    assert decisions == [("MEDIUM", "default@0"), ("HIGH", "new@0")]


def test_a_model_that_cannot_be_loaded_stops_nothing(all_logged: Path) -> None:
    desk = Desk(frozenset({"bad"}), all_logged)
    stage = _stage(desk)

    stage.play(auth(0))
    desk.order("promote", "bad")
    stage.play(call(1))

    assert [one["model"] for one in stage.said(SESSION_FEATURES)] == ["default@0"] * 2
    assert desk.complaints == ["model bad cannot be used: bad is broken"]


_ORDERS = st.lists(
    st.tuples(
        st.sampled_from(("promote", "shadow", "retire", "mode")),
        st.sampled_from(("default", "a", "b", "broken", ANY_MODEL)),
        st.sampled_from((None, "enforce", "observe")),
    ),
    max_size=8,
)


@given(_ORDERS)
def test_orders_come_to_the_same_after_compaction(orders: list[tuple[str, str, str | None]]) -> None:
    lived, restarted = (Desk(broken=frozenset({"broken"})) for _ in range(2))
    for order in orders:
        lived.order(*order)
    newest = {model: place for place, (_, model, _) in enumerate(orders)}
    for order in (orders[place] for place in sorted(newest.values())):
        restarted.order(*order)

    assert lived.stands == restarted.stands


# --- Models on disk ---


def test_models_are_folders_by_name(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1_000, len(FEATURES)))
    detector = fit(values, np.zeros(1_000, np.uint8), name="new", seed=1)
    save(detector, tmp_path / "new", {})
    in_force = InForce(Configured(model="new", models=Models(tmp_path)))

    assert in_force.champion == detector.id


@pytest.mark.parametrize("name", ["absent", "../new", "..", ""])
def test_a_name_that_is_no_model_keeps_a_worker_from_beginning(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadModel):
        InForce(Configured(model=name, models=Models(tmp_path)))


def test_roles_come_and_go_with_their_model() -> None:
    desk = Desk()
    seen = [desk.in_force.brain.roles]

    for command, model in (("promote", "new"), ("retire", "new"), ("retire", "default")):
        desk.order(command, model)
        seen.append(desk.in_force.brain.roles)

    default, new = sample_roles(len("default")).tag, sample_roles(len("new")).tag
    assert [roles and roles.tag for roles in seen] == [default, new, default, None]
