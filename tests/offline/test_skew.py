"""How uneven load is: what is simulated is what counting one session after the other comes to."""

from __future__ import annotations

from collections import defaultdict

import pytest

from pipeline.kafka.partitioner import partition_of
from pipeline.offline.capacity.skew import Skew, Spread, spread


def _session(number: int) -> bytes:
    return b"%08x-5e55-4000-8000-%012x" % (number, number * 2654435761 % 2**48)


def _counted(skew: Skew, partitions: int, workers: int) -> Spread:
    """The same, slowly."""
    own = round(skew.sessions * skew.tenant_sessions)
    traffic: dict[int, float] = {}
    for first, last, share in ((0, own, skew.tenant_traffic), (own, skew.sessions, 1 - skew.tenant_traffic)):
        busy = [1 / (n + 1) ** skew.exponent for n in range(last - first)]
        traffic |= {first + n: share * item / sum(busy) for n, item in enumerate(busy)}
    load, tenant, by_worker = defaultdict[int, float](float), defaultdict[int, float](float), [0.0] * workers
    for number, share in traffic.items():
        partition = partition_of(_session(number), partitions)
        load[partition] += share
        tenant[partition] += share * (number < own)
        by_worker[partition % workers] += share
    hottest = max(load, key=load.__getitem__)
    of_tenant = tenant[hottest] / load[hottest]
    return Spread(partitions, workers, hottest, load[hottest], of_tenant, max(by_worker), max(traffic.values()))


@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (8, 3), (16, 16)])
@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.3])
def test_the_hottest_partition_and_worker_are_those_that_counting_finds(
    exponent: float, partitions: int, workers: int
) -> None:
    skew = Skew(sessions=300, tenant_traffic=0.3, tenant_sessions=0.1, exponent=exponent)

    found, counted = spread(skew, partitions, workers), _counted(skew, partitions, workers)

    assert found.hottest_partition == counted.hottest_partition
    row = (found.partition, found.of_tenant, found.worker, found.session)
    assert row == pytest.approx((counted.partition, counted.of_tenant, counted.worker, counted.session))


def test_of_a_single_partition_the_large_tenant_has_its_share_of_the_traffic() -> None:
    found = spread(Skew(), 1, 1)

    assert (found.partition, found.of_tenant, found.worker) == pytest.approx((1.0, 0.3, 1.0))


def test_a_large_tenant_alone_heats_no_partition_but_a_busy_session_does() -> None:
    alike, uneven = (spread(Skew(exponent=exponent), 64, 12) for exponent in (0.0, 1.0))

    assert (round(alike.times_even, 2), round(alike.of_tenant, 2)) == (1.13, 0.32)
    assert (round(uneven.times_even, 2), round(uneven.session / uneven.partition, 2)) == (4.74, 0.79)
