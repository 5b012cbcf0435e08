"""Replay of labelled worlds in parallel processes, with progress and an estimate of the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from models.state.table import SessionTable
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import Policy
from pipeline.offline.evaluation.foreign.labelled import number_of_events, read_world
from pipeline.offline.evaluation.foreign.observed import ObservedSession, Observer
from pipeline.offline.evaluation.play import Model
from pipeline.offline.replay.answers import Answers
from pipeline.offline.replay.recording import InputRecord, read
from pipeline.offline.replay.runner import Replay
from pipeline.processing.processor import Message
from pipeline.sessions.fast_path import ScoredChunk
from pipeline.sessions.processor import Options

COUNTED: Final = 1_000
"""A process tells how far it is after so many events."""
Onlooker = Callable[[SessionTable, ScoredChunk], None]
Progress = Callable[[int, int, int], None]
"""Called with the number of worlds that are done, of events replayed, and of all events."""


def replayed(
    folder: Path,
    policy: Policy,
    model: Model,
    onlooker: Onlooker,
    answers: Answers | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[Message]:
    """Replay the world in *folder* and yield its messages; *tell* is called with the number of events so far.

    *onlooker* is called with every chunk that was decided, and *answers* answers challenges.

    Raises:
        RecordingError: the events cannot be read.
    """
    active = ActiveConfig(detector=model.detector, roles=model.roles)
    active.use_policy(policy)
    specs = processor_specs(active, Options(event_clock=True, changelog=False, onlooker=onlooker))
    return Replay(specs, answers=answers).run(_counted(read(folder), tell))


def replay_world(
    folder: Path, policy: Policy, model: Model, tell: Callable[[int], None] = lambda _: None
) -> Sequence[ObservedSession]:
    """What a replay of the world in *folder*, with answers of honest people, does to its sessions; *tell* as above.

    Raises:
        RecordingError: the world cannot be read.
    """
    observer = Observer(read_world(folder))
    for message in replayed(folder, policy, model, observer.look, Answers(observer.is_honest), tell):
        observer.observe(message)
    return observer.sessions


def replay_worlds(
    folders: Sequence[Path], policy: Policy, model: Model, jobs: int, progress: Progress, every_s: float = 5.0
) -> list[Sequence[ObservedSession]]:
    """Replay the worlds in *folders* with *jobs* processes; the results are in the order of *folders*.

    *progress* is called every *every_s* seconds and whenever a world is done.

    Raises:
        RecordingError: a world cannot be read.
    """
    context = get_context("spawn")
    total = sum(map(number_of_events, folders))
    replayed = context.Array("q", len(folders))
    with ProcessPoolExecutor(jobs, context, _share, (replayed,)) as pool:
        futures = [pool.submit(_task, number, folder, policy, model) for number, folder in enumerate(folders)]
        left = set(futures)
        try:
            while left:
                done, left = wait(left, every_s, FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress(len(futures) - len(left), sum(replayed[:]), total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


_shared: list[Any] = []
"""In a worker process: the array of how many events of each world were replayed."""


def _share(replayed: Any) -> None:
    _shared[:] = [replayed]


def _task(number: int, folder: Path, policy: Policy, model: Model) -> Sequence[ObservedSession]:
    def tell(events: int) -> None:
        _shared[0][number] = events

    return replay_world(folder, policy, model, tell)


def _counted(records: Iterable[InputRecord], tell: Callable[[int], None]) -> Iterator[InputRecord]:
    number = 0
    for number, record in enumerate(records, start=1):
        yield record
        if number % COUNTED == 0:
            tell(number)
    tell(number)
