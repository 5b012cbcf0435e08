"""Metric: a row of the table in `pipeline.metrics.worker`; reading the attribute of an instance gives its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Generic, Protocol, TypeVar, cast

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

Series = TypeVar("Series", bound=MetricWrapperBase)


class SeriesOwner(Protocol):
    """An object with the series of one registry, by metric name."""

    series: dict[str, MetricWrapperBase]


@dataclass(frozen=True, slots=True)
class Metric(Generic[Series]):
    """One row: *kind* is the class of `prometheus_client`, *buckets* are a histogram's upper bounds.

    *labels* gives for each label the values that are known beforehand; `ANY` where they are not. *replaced_by* is
    set on the old name of a metric: the attribute of the row that has the new name.
    """

    kind: type[Series]
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]]
    buckets: tuple[float, ...] = ()
    replaced_by: str = ""

    def __get__(self, owner: SeriesOwner, _class: type[SeriesOwner]) -> Series:
        return cast("Series", owner.series[self.name])

    def create(self, registry: CollectorRegistry) -> MetricWrapperBase:
        """Register this row's series in *registry*; series whose labels are known start at 0.

        Otherwise Prometheus would see no increase: the series would appear with its first count already in it.
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
        """The Prometheus type: counter, gauge or histogram."""
        return self.kind.__name__.lower()

    def exposed(self) -> tuple[str, ...]:
        """Return the sample names that a query may use for this row."""
        if self.kind is Histogram:
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)
