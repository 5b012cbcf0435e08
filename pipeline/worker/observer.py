"""The observer of a real worker: counts what happens, and exports state, model, policy and drift as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from pipeline.control.reloader import ConfigReloader
from pipeline.metrics.worker import CountingObserver, Metrics
from pipeline.processing.processor import Processor, ProcessorSpec
from pipeline.sessions.processor import SessionProcessor

Place = tuple[str, int]
"""A kind and a partition."""


class MetricsObserver(CountingObserver):
    """Shows in *metrics* what the edge does, what *in_force* says, and what the stages of its kinds hold.

    *each_second* is called about once a second in the worker's event loop, where no chunk is half done.
    """

    def __init__(
        self, metrics: Metrics, in_force: ConfigReloader, each_second: Sequence[Callable[[], None]] = ()
    ) -> None:
        super().__init__(metrics)
        self._in_force = in_force
        self._each_second = each_second
        self._made: dict[Place, Processor] = {}
        # Not held by this: what the edge gives up after a rebalance must be free to go.
        self._scorers: WeakValueDictionary[Place, SessionProcessor] = WeakValueDictionary()
        self._shown: tuple[object, ...] = ()
        self._drift_shown: tuple[object, int] = (None, 0)
        self._show_what_decides()

    def kinds(self, kinds: Sequence[ProcessorSpec]) -> tuple[ProcessorSpec, ...]:
        """Return the same *kinds*, whose stages are shown from when they are ready until they are gone."""
        return tuple(replace(kind, create=self._noting(kind)) for kind in kinds)

    def _noting(self, kind: ProcessorSpec) -> Callable[[int], Processor]:
        def create(partition: int) -> Processor:
            stage = self._made[kind.name, partition] = kind.create(partition)
            return stage

        return create

    def ready(self, kind: str, partition: int) -> None:
        super().ready(kind, partition)
        stage = self._made.pop((kind, partition), None)
        if isinstance(stage, SessionProcessor):
            self._scorers[kind, partition] = stage
        # A stage kept over a rebalance is not made again, and is shown again.
        scorer = self._scorers.get((kind, partition))
        if scorer is not None:
            self._show_sessions(partition, scorer)

    def closed(self, kind: str, partition: int) -> None:
        # A partition may come again before the stage it had here is given up: the new one is yet to be ready.
        made = self._made.pop((kind, partition), None)
        super().closed(kind, partition)
        if made is not None:
            self._made[kind, partition] = made

    def loop_turned(self) -> None:
        super().loop_turned()
        for call in self._each_second:
            call()
        self._show_what_decides()
        self._show_drift()

    def _show_sessions(self, partition: int, stage: SessionProcessor) -> None:
        self.metrics.watch_sessions(
            partition,
            live=lambda: len(stage.table),
            held=lambda: stage.table.nbytes,
            guard=lambda: stage.guard.state,
        )

    def _show_what_decides(self) -> None:
        policy, champion = self._in_force.policy, self._in_force.champion
        challengers = tuple(model.id for model in self._in_force.challengers.values())
        refused = self._in_force.policy_refused
        shown = (policy, champion, challengers, frozenset(self._in_force.refused), refused)
        if shown != self._shown:  # a scrape must not find the row that is shown anew missing
            self._shown = shown
            self.metrics.show_policy(policy.id, policy.mode, refused=refused)
            self.metrics.show_models(champion, challengers, self._in_force.refused)

    def _show_drift(self) -> None:
        drift = self._in_force.brain.drift
        shown = (drift, drift.rows if drift else 0)
        if shown == self._drift_shown:
            return
        if drift is not self._drift_shown[0]:
            self.metrics.drift_psi.clear()  # of another model's training data
        self._drift_shown = shown
        self.metrics.show_drift(shown[1], drift.drift() if drift else ())
