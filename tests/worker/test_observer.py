"""A worker's own figures: what stages hold while they are here, and what decides."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from prometheus_client import CollectorRegistry

from models.detectors.base import NoDetector
from pipeline.assembly import processor_specs
from pipeline.control.active import Challenger
from pipeline.control.reloader import ConfigReloader, InitialConfig
from pipeline.metrics.worker import Metrics
from pipeline.processing.observer import Work
from pipeline.processing.processor import InMemoryRecord, Outcome, Processor
from pipeline.sessions.processor import Options, SessionProcessor
from pipeline.worker.observer import MetricsObserver
from schemas.decode import encode
from schemas.topics import API_CALLS
from tests.support.counting_processor import Counting, counting_kind
from tests.support.samples import call


class Named(NoDetector):
    """A detector that is only a name."""

    def __init__(self, name: str) -> None:
        self.id = f"{name}@0"


class Scene:
    """A worker's observer, its specs and what a scrape shows."""

    def __init__(self, reloader: ConfigReloader | None = None) -> None:
        self.reloader = reloader or ConfigReloader(InitialConfig())
        self.metrics = Metrics(CollectorRegistry())
        self.observer = MetricsObserver(self.metrics, self.reloader, [self.reloader.check])
        self.specs = self.observer.specs(processor_specs(self.reloader.active, Options()))

    def take_over(self, partition: int) -> SessionProcessor:
        session, *_ = [kind.create(partition) for kind in self.specs]
        for kind in self.specs:
            self.observer.ready(kind.name, partition)
        assert isinstance(session, SessionProcessor)
        return session

    def give_up(self, partition: int) -> None:
        for kind in self.specs:
            self.observer.closed(kind.name, partition)

    def shown(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"session_risk_{name}", labels)

    def all_shown(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == f"session_risk_{name}"
        }


def _process(stage: Processor, *session_ids: str) -> Outcome:
    events = [call(session_id=session_id) for session_id in session_ids]
    records = [
        InMemoryRecord(API_CALLS, 0, offset, 0, event["session_id"].encode(), encode(event))
        for offset, event in enumerate(events)
    ]
    return stage.process(API_CALLS, records, events[-1]["occurred_at"])


def test_the_sessions_of_a_partition_are_shown_until_it_is_gone() -> None:
    scene = Scene()
    stage = scene.take_over(3)
    assert scene.shown("live_sessions", partition="3") == 0

    _process(stage, "a", "b")

    assert scene.shown("live_sessions", partition="3") == 2
    assert (scene.shown("state_bytes", stage="session", partition="3") or 0) > 500
    assert scene.shown("guard_state", partition="3") == 0
    scene.give_up(3)
    assert scene.all_shown("live_sessions") == scene.all_shown("state_bytes") == {}


def test_a_stage_is_not_shown_before_it_is_ready() -> None:
    scene = Scene()
    scene.specs[0].create(3)

    assert scene.all_shown("live_sessions") == {}


def test_a_partition_taken_over_again_before_it_was_given_up_shows_its_new_stage() -> None:
    scene = Scene()
    _process(scene.take_over(3), "a", "b")
    renewed = [kind.create(3) for kind in scene.specs]

    scene.give_up(3)
    for kind in scene.specs:
        scene.observer.ready(kind.name, 3)
    _process(renewed[0], "c")

    assert scene.all_shown("live_sessions") == {("3",): 1}


def test_a_stage_that_is_kept_over_a_rebalance_is_shown_again() -> None:
    scene = Scene()
    stage = scene.take_over(3)
    _process(stage, "a", "b")

    scene.give_up(3)
    for kind in scene.specs:
        scene.observer.ready(kind.name, 3)

    assert scene.all_shown("live_sessions") == {("3",): 2}
    assert scene.all_shown("guard_state") == {("3",): 0}
    assert scene.shown("state_bytes", stage="session", partition="3") == stage.table.nbytes


def test_a_stage_that_was_given_up_is_not_held_to_be_shown() -> None:
    scene = Scene()
    stage = weakref.ref(scene.take_over(3))

    scene.give_up(3)
    gc.collect()

    assert stage() is None


def test_kinds_keep_their_names_and_sources() -> None:
    scene = Scene()
    plain = processor_specs(scene.reloader.active, Options())

    assert [(k.name, k.sources) for k in scene.specs] == [(k.name, k.sources) for k in plain]


def test_a_stage_without_sessions_is_left_in_peace() -> None:
    scene = Scene()
    made: list[Counting] = []
    (kind,) = scene.observer.specs([counting_kind(made)])

    assert kind.create(1) is made[0]
    scene.observer.ready(kind.name, 1)
    assert scene.all_shown("live_sessions") == {}


def test_what_decides_is_shown_at_once_and_follows_the_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('name = "one"\n', encoding="utf-8")
    scene = Scene(ConfigReloader(InitialConfig(policy_file=path)))
    first = scene.reloader.policy.id
    assert scene.all_shown("policy_info") == {(first, "enforce"): 1}

    path.write_text('name = "another"\nmode = "observe"\n', encoding="utf-8")
    scene.observer.loop_turned()
    scene.observer.loop_turned()

    assert scene.all_shown("policy_info") == {(scene.reloader.policy.id, "observe"): 1}
    assert first != scene.reloader.policy.id


def test_the_champion_is_shown_and_without_one_nobody_is() -> None:
    scene = Scene()
    for detector, shown in ((Named("new"), {("new@0", "champion"): 1}), (NoDetector(), {})):
        scene.reloader.active.detector = detector
        scene.observer.loop_turned()

        assert scene.all_shown("model_info") == shown


def test_a_turn_of_the_loop_is_a_sign_of_life() -> None:
    scene = Scene()
    assert scene.shown("heartbeat_timestamp_seconds") == 0

    scene.observer.loop_turned()

    assert (scene.shown("heartbeat_timestamp_seconds") or 0) > 1e9


def test_every_count_of_a_stage_has_its_metric() -> None:
    scene = Scene()
    outcome = _process(scene.take_over(0), "a", "b")

    scene.observer.done(Work("session", 0, API_CALLS, 2, 0.001, outcome))

    assert scene.shown("events_total", topic=API_CALLS) == 2


def test_a_challenger_is_shown_as_one() -> None:
    scene = Scene()
    scene.reloader.active.detector = Named("new")
    scene.reloader.challengers["newer"] = Challenger(Named("newer"))
    scene.observer.loop_turned()

    assert scene.all_shown("model_info") == {("new@0", "champion"): 1, ("newer@0", "challenger"): 1}


def test_a_model_that_could_not_be_loaded_is_shown_until_it_is_no_longer_wanted() -> None:
    scene = Scene()
    seen = []
    for refused in ({"bad"}, set()):
        scene.reloader.refused = refused
        scene.observer.loop_turned()
        seen.append(scene.all_shown("model_refused"))

    assert seen == [{("bad",): 1}, {}]
