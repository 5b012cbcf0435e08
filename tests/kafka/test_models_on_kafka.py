"""Which model decides, on Apache Kafka: ordered, taken back and refused while events flow to two workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from shutil import copytree
from threading import Event as Flag
from threading import Thread
from typing import Self
from uuid import uuid4

import pytest

from models.artefacts import ARRAYS, load
from pipeline.kafka.client import open_writer
from pipeline.offline.scenarios.playback import steady
from schemas.topics import API_CALLS, SESSION_FEATURES
from tests.support.model_workers import (
    CALM,
    ODD,
    PARTITIONS,
    PLACES,
    Fleet,
    ended_in_order,
    its_roles,
    now,
    put,
    send,
)
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers by the model calm. Both have the model new, the first alone the model far."""
    folder = tmp_path_factory.mktemp("two")
    fleet = Fleet(folder, policy="low_features_share = 1.0")
    put(fleet.models / f"new-{fleet.name}", CALM / 2, its_roles())
    copytree(fleet.models, folder / "elsewhere")
    put(fleet.models / f"far-{fleet.name}", ODD, its_roles())
    fleet.begin([{}, {"model_dir": str(folder / "elsewhere")}])
    yield from ended_in_order(fleet)


@pytest.fixture
def fleet(two: Fleet) -> Iterator[Fleet]:
    yield two
    two.take_back()


def everywhere(*models: str) -> dict[int, list[str]]:
    """What is told when these have scored in every partition, one after the other."""
    return {partition: [*models] for partition in PLACES}


class Flow:
    """Calls that flow from a thread, some in every partition, until it is told to stop."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.suffix = f"-{uuid4().hex[:8]}"
        self.sent: list[str] = []
        self._over = Flag()
        self._thread = Thread(target=lambda: asyncio.run(self._flow()))

    async def _flow(self) -> None:
        async with open_writer(self.fleet.connection) as writer:
            for turn in count():
                if self._over.is_set():
                    break
                timeds = steady(PARTITIONS, now(), now(), self.suffix)
                events = [(topic, event) for topic, event in timeds if topic == API_CALLS]
                for _, event in events:
                    event["event_id"] += f"-{turn}"
                    self.sent.append(event["event_id"])
                await send(writer, events)
                await asyncio.sleep(0.05)

    def scored_by(self, *models: str) -> None:
        """Return when in every partition these *models* have scored, one after the other, and no other."""
        until(
            f"events of each partition that were scored by {models} in turn",
            lambda: self.fleet.models_in_turn(self.suffix),
            lambda seen: seen == everywhere(*models),
        )

    def decided_on(self) -> Counter[str]:
        """How often each event was decided on; what contexts say is none of them, and its id has a ~."""
        details = (fields["event_id"] for fields in self.fleet.received(self.suffix, SESSION_FEATURES))
        return Counter(event_id for event_id in details if "~" not in event_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_promoted_model_decides_until_it_is_gone_back_from_and_every_event_is_decided_on_once(
    fleet: Fleet,
) -> None:
    calm, new = fleet.calm_id, _id(fleet, "new")
    with Flow(fleet) as flow:
        flow.scored_by(calm)
        fleet.order("promote", f"new-{fleet.name}")
        fleet.run_by({new: "champion"})
        flow.scored_by(calm, new)
        text = fleet.order("rollback")
        fleet.run_by({calm: "champion"})
        flow.scored_by(calm, new, calm)
    fleet.settle()

    assert flow.decided_on() == dict.fromkeys(flow.sent, 1)
    assert text == f"new-{fleet.name} is retired; {fleet.calm} decides again, on workers that have it\n"
    assert fleet.models_in_turn(flow.suffix) == everywhere(calm, new, calm)


def test_a_damaged_model_is_refused_with_a_sentence_and_every_event_is_decided_on_by_the_champion(
    fleet: Fleet,
) -> None:
    name = f"damaged-{fleet.name}"
    for models in (fleet.models, fleet.folder / "elsewhere"):
        _damage(copytree(models / f"new-{fleet.name}", models / name))
    with Flow(fleet) as flow:
        flow.scored_by(fleet.calm_id)
        fleet.order("promote", name, "--force")
        _refused(fleet, [{name}, {name}])
        sent = len(flow.sent)
        until("more events that flow", lambda: len(flow.sent), lambda now: now > sent + 5 * PARTITIONS)
    fleet.settle()

    assert flow.decided_on() == dict.fromkeys(flow.sent, 1)
    assert fleet.models_in_turn(flow.suffix) == everywhere(fleet.calm_id)
    for worker in fleet.workers:
        assert worker.models() == {fleet.calm_id: "champion"}
        (sentence,) = [line for line in worker.output().splitlines() if f"model {name} cannot" in line]
        assert sentence.endswith(f"{ARRAYS}: changed since it was trained (its sha256 is not the card's)")


def test_each_worker_tells_the_model_that_it_runs_and_which_it_cannot_load(fleet: Fleet) -> None:
    far, suffix = _id(fleet, "far"), f"-{uuid4().hex[:8]}"
    this_worker, other = fleet.workers
    fleet.order("promote", f"far-{fleet.name}")
    fleet.run_by({far: "champion"}, [this_worker])
    _refused(fleet, [set(), {f"far-{fleet.name}"}])
    fleet.play(steady(PARTITIONS, now(), now(), suffix))

    assert other.models() == {fleet.calm_id: "champion"}
    assert fleet.models_in_turn(suffix) == {
        partition: [model]
        for worker, model in ((this_worker, far), (other, fleet.calm_id))
        for partition in worker.partitions()
    }


def _refused(fleet: Fleet, names: list[set[str]]) -> None:
    """Return when each worker tells that it refused just these."""
    until(
        f"workers that refuse {names}",
        lambda: [worker.refused() for worker in fleet.workers],
        lambda seen: seen == names,
    )


def _id(fleet: Fleet, model: str) -> str:
    """The id of one of the fleet's models."""
    return load(fleet.models / f"{model}-{fleet.name}").id


def _damage(model: Path) -> None:
    """Change a byte of what it learned."""
    arrays = bytearray((model / ARRAYS).read_bytes())
    arrays[len(arrays) // 2] ^= 1
    (model / ARRAYS).write_bytes(arrays)
