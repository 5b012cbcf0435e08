"""The observer of a real worker: counts what happens, and exports state, model, policy and drift as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from pipeline.control.reloader import ConfigReloader
from pipeline.metrics.worker import CountingObserver, Metrics
from pipeline.processing.processor import Processor, ProcessorSpec
from pipeline.sessions.processor import SessionProcessor

Owned = tuple[str, int]
"""A processor's name and a partition."""


class MetricsObserver(CountingObserver):
    """Counts what the Kafka layer reports, and exports the state of processors, the policy, the models and drift.

    *each_second* are called about once a second in the worker's event loop, between two chunks.
    """

    def __init__(
        self, metrics: Metrics, reloader: ConfigReloader, each_second: Sequence[Callable[[], None]] = ()
    ) -> None:
        super().__init__(metrics)
        self._reloader = reloader
        self._each_second = each_second
        self._created: dict[Owned, Processor] = {}
        # Weak references: a processor that the Kafka layer drops after a rebalance must be freed.
        self._session_processors: WeakValueDictionary[Owned, SessionProcessor] = WeakValueDictionary()
        self._exported: tuple[object, ...] = ()
        self._drift_exported: tuple[object, int] = (None, 0)
        self._export_active_config()

    def specs(self, specs: Sequence[ProcessorSpec]) -> tuple[ProcessorSpec, ...]:
        """Return *specs* such that their processors are exported from when they are ready until they are closed."""
        return tuple(replace(spec, create=self._remembering(spec)) for spec in specs)

    def _remembering(self, spec: ProcessorSpec) -> Callable[[int], Processor]:
        def create(partition: int) -> Processor:
            processor = self._created[spec.name, partition] = spec.create(partition)
            return processor

        return create

    def ready(self, processor_name: str, partition: int) -> None:
        super().ready(processor_name, partition)
        processor = self._created.pop((processor_name, partition), None)
        if isinstance(processor, SessionProcessor):
            self._session_processors[processor_name, partition] = processor
        # A processor that is kept over a rebalance is not created again, but must be exported again.
        session_processor = self._session_processors.get((processor_name, partition))
        if session_processor is not None:
            self._export_sessions(partition, session_processor)

    def closed(self, processor_name: str, partition: int) -> None:
        # A partition may be assigned again before its previous processor is closed: the new one is not ready yet.
        created = self._created.pop((processor_name, partition), None)
        super().closed(processor_name, partition)
        if created is not None:
            self._created[processor_name, partition] = created

    def loop_turned(self) -> None:
        super().loop_turned()
        for call in self._each_second:
            call()
        self._export_active_config()
        self._export_drift()

    def _export_sessions(self, partition: int, processor: SessionProcessor) -> None:
        self.metrics.watch_sessions(
            partition,
            live=lambda: len(processor.table),
            held=lambda: processor.table.nbytes,
            guard=lambda: processor.guard.state,
        )

    def _export_active_config(self) -> None:
        policy, champion = self._reloader.policy, self._reloader.champion
        challengers = tuple(model.id for model in self._reloader.challengers.values())
        refused = self._reloader.policy_refused
        exported = (policy, champion, challengers, frozenset(self._reloader.refused), refused)
        if exported != self._exported:  # only on a change: a scrape must not come between clearing and setting
            self._exported = exported
            self.metrics.show_policy(policy.id, policy.mode, refused=refused)
            self.metrics.show_models(champion, challengers, self._reloader.refused)

    def _export_drift(self) -> None:
        drift = self._reloader.active.drift
        exported = (drift, drift.rows if drift else 0)
        if exported == self._drift_exported:
            return
        if drift is not self._drift_exported[0]:
            self.metrics.drift_psi.clear()  # of another model's training data
        self._drift_exported = exported
        self.metrics.show_drift(exported[1], drift.drift() if drift else ())
