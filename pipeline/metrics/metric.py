"""What a metric is: a row of the table in `pipeline.metrics.worker`, and by attribute access its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Generic, Protocol, TypeVar, cast

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

Series = TypeVar("Series", bound=MetricWrapperBase)


class Shown(Protocol):
    """What holds the series of a registry by their names."""

    series: dict[str, MetricWrapperBase]


@dataclass(frozen=True, slots=True)
class Metric(Generic[Series]):
    """One row: *kind* is the class of `prometheus_client`, *buckets* are a histogram's upper bounds.

    *labels* names the values of each label that are known beforehand; `ANY` where they are not.
    """

    kind: type[Series]
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]]
    buckets: tuple[float, ...] = ()

    def __get__(self, owner: Shown, _class: type[Shown]) -> Series:
        return cast("Series", owner.series[self.name])

    def create(self, registry: CollectorRegistry) -> MetricWrapperBase:
        """Register the series of this row in *registry*; those known beforehand start at 0.

        Prometheus sees no increase in a series that appears with its first count.
        """
        names = tuple(self.labels)
        series: MetricWrapperBase
        if self.kind is Histogram:
            series = Histogram(self.name, self.help, names, registry=registry, buckets=self.buckets)
        else:
            series = self.kind(self.name, self.help, names, registry=registry)
        if self.labels:
            for values in product(*self.labels.values()):
                series.labels(*values)
        return series

    @property
    def type(self) -> str:
        """The type in Prometheus' words: counter, gauge or histogram."""
        return self.kind.__name__.lower()

    def exposed(self) -> tuple[str, ...]:
        """Return the sample names a query may use for this row."""
        if self.kind is Histogram:
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)
