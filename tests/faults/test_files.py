"""Policy and model files are swapped, cut and spoilt under a worker: it goes on, and takes a good one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from models import model_card
from models.artefacts import SHIPPED, BadModel, load, load_roles
from models.model_card import CARD
from models.roles.roles import Roles
from pipeline.control.reloader import ConfigReloader, InitialConfig, Models
from pipeline.decisions.policy import BadPolicy, read_policy
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import create_topics, needed_topics
from pipeline.metrics.worker import Metrics
from pipeline.processing.processor import InMemoryRecord
from pipeline.worker.observer import MetricsObserver
from schemas.topics import MODEL_CONTROL
from tests.faults.group import KINDS as STAGES
from tests.faults.known import PARTITIONS
from tests.support.waiting import until
from tests.support.worker_process import Worker

OLD = 'name = "old"\nmode = "observe"\nprior = -5.84\n'
NEW = 'name = "new"\nmode = "observe"\nprior = -6.25\n[guard]\nrevocations_per_minute = 40\n'


@dataclass
class Desk:
    """What is in force, what it complained of, and what its metrics tell."""

    folder: Path
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = self.folder / "policy.toml"
        self.policy.write_text(OLD, encoding="utf-8")
        for name in ("default", "next"):
            shutil.copytree(SHIPPED / "default", self.folder / "models" / name)
        _rename(self.folder / "models" / "next", "next")
        configured = InitialConfig(self.policy, "default", None, Models(self.folder / "models"))
        self.in_force = ConfigReloader(configured, self.complaints.append)
        self._registry = CollectorRegistry()
        self._watching = MetricsObserver(Metrics(self._registry), self.in_force, [self.in_force.check])

    def look(self, times: int = 2) -> None:
        """Let so many seconds go by, as a worker sees them."""
        for _ in range(times):
            self._watching.loop_turned()

    def order(self, command: str, model: str) -> None:
        fields = {"command": command, "model": model, "issued_by": "ana", "occurred_at": 1}
        self.in_force.on_control_record(
            InMemoryRecord(MODEL_CONTROL, 0, 7, 1, model.encode(), json.dumps(fields).encode())
        )
        self.look()

    def shown(self, name: str) -> dict[tuple[str, ...], float]:
        """The series of a metric that are not 0."""
        return {
            tuple(sample.labels.values()): sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
            if sample.name == f"session_risk_{name}" and sample.value
        }

    def output(self) -> str:
        """The one complaint there is; from here on there is none."""
        (complaint,) = self.complaints
        self.complaints.clear()
        return complaint


def _rename(folder: Path, name: str) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    (folder / CARD).write_text(json.dumps(card | {"name": name}), "utf-8")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- the policy ---------------------------------------------------------------------------------------------

SPOILT: dict[str, tuple[bytes | None, str]] = {
    "cut in a line": (NEW[:-1].encode(), "ends in the middle of a line"),
    "cut in a number": (NEW[: NEW.index(".25")].encode(), "ends in the middle of a line"),
    "cut in a name": (NEW[: NEW.index("_per")].encode() + b"\n", "not TOML"),
    "empty": (b"", "empty"),
    "blank": (b"\n \n", "empty"),
    "not text": (b'name = "\xff"\n', "not UTF-8 at byte 8"),
    "noise": (random.Random(1).randbytes(400), ""),
    "another file": (b'{"name": "new"}\n', "not TOML"),
    "a member nobody knows": (f"{OLD}proir = -6.0\n".encode(), "proir"),
    "a number that is none": (b'prior = "high"\n', "prior"),
    "gone": (None, "No such file"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_policy_changes_nothing_is_told_and_gives_way_to_the_next(desk: Desk, how: str) -> None:
    content, why = SPOILT[how]
    before = desk.in_force.policy
    if content is None:
        desk.policy.unlink()
    else:
        desk.policy.write_bytes(content)

    desk.look(5)
    complaint = desk.output()
    assert complaint.startswith(f"the policy stays {before.id}: {desk.policy}: ")
    assert why in complaint
    assert (desk.in_force.policy, desk.shown("policy_refused")) == (before, {(): 1})

    desk.policy.write_text(NEW, encoding="utf-8")
    desk.look()
    assert (desk.in_force.policy.name, desk.complaints, desk.shown("policy_refused")) == ("new", [], {})


@pytest.mark.parametrize("how", [how for how in SPOILT if how != "gone"])
def test_a_spoilt_policy_keeps_a_worker_from_beginning_with_a_sentence(tmp_path: Path, how: str) -> None:
    content, why = SPOILT[how]
    path = tmp_path / "policy.toml"
    path.write_bytes(content or b"")

    with pytest.raises(BadPolicy) as refused:
        read_policy(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_of_a_policy_that_is_being_written_no_part_is_ever_in_force(desk: Desk) -> None:
    before, parts = desk.in_force.policy, []
    for end in range(len(NEW) + 1):
        desk.policy.write_text(NEW[:end], encoding="utf-8")
        desk.look(1)
        parts.append(desk.in_force.policy)
    desk.look(1)

    assert parts == [before] * len(parts)
    assert (desk.in_force.policy.name, desk.complaints) == ("new", [])


def test_a_policy_that_is_moved_into_place_is_seen_though_size_and_time_are_the_same(desk: Desk) -> None:
    stat_result = desk.policy.stat()
    other = desk.folder / "other.toml"
    other.write_text(OLD.replace("old", "own"), encoding="utf-8")
    os.utime(other, ns=(stat_result.st_atime_ns, stat_result.st_mtime_ns))
    other.rename(desk.policy)
    desk.look()

    assert (desk.in_force.policy.name, desk.complaints) == ("own", [])


# --- models -------------------------------------------------------------------------------------------------


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scratch(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _another(path: Path) -> None:
    shutil.copy(SHIPPED / "default" / "reference.npz", path)


WAYS: dict[str, Callable[[Path], None]] = {
    "cut": _cut,
    "scratched": _scratch,
    "empty": _empty,
    "gone": Path.unlink,
    "of another": _another,
}
FILES = ("detector.npz", "roles.npz")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", WAYS)
def test_a_spoilt_model_changes_nothing_is_told_and_is_taken_when_it_is_good(desk: Desk, how: str, name: str) -> None:
    place = desk.folder / "models" / "next"
    WAYS[how](place / name)

    desk.order("promote", "next")
    desk.look(5)
    complaint = desk.output()
    assert complaint.startswith(f"model next cannot be used: {place}")
    assert name in complaint
    assert desk.in_force.champion == load(SHIPPED / "default").id
    assert desk.shown("model_refused") == {("next",): 1}

    shutil.copy(SHIPPED / "default" / name, place / name)
    desk.look()
    assert desk.in_force.champion == load(place).id
    assert (desk.complaints, desk.shown("model_refused")) == ([], {})


@pytest.mark.parametrize("how", WAYS)
def test_the_model_that_decides_goes_on_when_its_files_are_spoilt(desk: Desk, how: str) -> None:
    place = desk.folder / "models" / "default"
    before = desk.in_force.active.detector
    WAYS[how](place / "detector.npz")

    desk.look()
    assert desk.complaints == []
    desk.order("promote", "default")
    assert desk.output().startswith(f"model default cannot be used: {place}")
    assert desk.in_force.active.detector is before
    assert desk.shown("model_refused") == {("default",): 1}

    desk.order("shadow", "next")
    assert (desk.complaints, desk.shown("model_refused")) == ([], {("default",): 1})

    shutil.copy(SHIPPED / "default" / "detector.npz", place / "detector.npz")
    desk.look()
    assert (desk.complaints, desk.shown("model_refused")) == ([], {})
    assert desk.in_force.active.detector is not before


@pytest.mark.parametrize("role", ["promote", "shadow"])
def test_a_model_that_was_trained_anew_under_its_name_is_taken_when_it_is_ordered(desk: Desk, role: str) -> None:
    desk.order(role, "next")
    _rename(desk.folder / "models" / "next", "nexter")
    desk.look(5)
    assert _used(desk) == "next"

    desk.order(role, "next")
    assert (_used(desk), desk.complaints) == ("nexter", [])


def _used(desk: Desk) -> str:
    """The name of the newest model in use, as its card has it."""
    ids = [challenger.id for challenger in desk.in_force.active.challengers] or [desk.in_force.champion or ""]
    return ids[0].partition("@")[0]


class _Swapped(Models):
    """Models of which one is exchanged while it is read."""

    def roles(self, name: str) -> Roles | None:
        if name == "next":
            _rename(self.folder / name, "swapped")
        return super().roles(name)


def test_half_of_one_model_and_half_of_another_are_never_used(desk: Desk) -> None:
    models = _Swapped(desk.folder / "models")
    in_force = ConfigReloader(InitialConfig(None, "default", None, models), desk.complaints.append)
    before = in_force.champion
    fields = {"command": "promote", "model": "next", "issued_by": "ana", "occurred_at": 1}
    in_force.on_control_record(InMemoryRecord(MODEL_CONTROL, 0, 7, 1, b"next", json.dumps(fields).encode()))

    assert in_force.champion == before
    assert desk.output().endswith("changed while it was read; it is read again as it stays")


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_of_a_file_is_what_the_card_vouched_for(
    desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, vouched = desk.folder / "models" / "next", model_card.read

    def exchanged_afterwards(directory: Path) -> dict[str, Any]:
        fields = vouched(directory)
        _scratch(directory / name)
        return fields

    monkeypatch.setattr(model_card, "read", exchanged_afterwards)
    with pytest.raises(BadModel) as refused:
        (load if name == "detector.npz" else load_roles)(place)

    assert str(refused.value) == f"{place / name}: changed while it was read (its sha256 is not the card's)"


def _flips(held: bytes) -> Iterator[bytes]:
    """*held* with a bit flipped: here and there, and everywhere in the name of a part that may be missing."""
    name = held.index(b'"roles.npz"')
    for at in (*range(0, len(held), 97), *range(name, name + len("roles.npz") + 2)):
        for bit in (0, 1, 5):
            yield held[:at] + bytes([held[at] ^ 1 << bit]) + held[at + 1 :]


def test_a_card_with_a_flipped_bit_hides_no_part_of_its_model(desk: Desk) -> None:
    place = desk.folder / "models" / "next"
    good, refused, hidden = (place / CARD).read_bytes(), 0, 0
    for spoilt in _flips(good):
        (place / CARD).write_bytes(spoilt)
        try:
            load(place)
            hidden += load_roles(place) is None
        except BadModel as error:
            refused += str(place) in str(error)
    assert hidden == 0
    assert refused > 60


# --- with a worker on Kafka ---------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_worker_goes_on_with_the_policy_it_has_until_there_is_a_good_one(bootstrap: str, tmp_path: Path) -> None:
    app_id, policy = f"files-{uuid4().hex[:8]}", tmp_path / "policy.toml"
    policy.write_text(OLD, encoding="utf-8")
    topics = needed_topics(app_id, [stage.name for stage in STAGES], PARTITIONS)
    asyncio.run(create_topics(Connection(bootstrap), topics, 1))
    settings = {
        "SESSION_RISK_BROKER": bootstrap,
        "SESSION_RISK_APP_ID": app_id,
        "SESSION_RISK_PARTITIONS": str(PARTITIONS),
        "SESSION_RISK_POLICY_FILE": str(policy),
        "SESSION_RISK_DATA_DIR": str(tmp_path / "data"),
    }
    worker = Worker(settings, tmp_path / "worker.log")
    try:
        name = read_policy(policy).id
        until("the worker shows its policy", lambda: worker.series("policy_info"), bool)
        for cut in (NEW[: len(NEW) // 2], "", OLD.replace("prior", "proir")):
            policy.write_text(cut, encoding="utf-8")
            _until_refused(worker, 1.0)
            assert [labels[1] for labels in worker.series("policy_info")] == [name]
            policy.write_text(OLD, encoding="utf-8")
            _until_refused(worker, 0.0)
        policy.write_text(NEW, encoding="utf-8")
        until("the new policy", lambda: worker.series("policy_info"), lambda seen: name not in str(seen))
        assert worker.end() == 0
    finally:
        worker.kill()
    assert worker.output().count(f"the policy stays {name}: {policy}: ") == 3


def _until_refused(worker: Worker, value: float) -> None:
    until("policy_refused", lambda: worker.series("policy_refused"), lambda seen: seen == {(): value})
