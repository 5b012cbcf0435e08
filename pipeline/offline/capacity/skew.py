"""How unevenly sessions load partitions and workers: a simulation of a large tenant and of busy sessions.

A session's records all go to one partition, by murmur2 of its id. How busy the sessions of a tenant are falls
by Zipf's law: the n-th does 1/n^s of what the first does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.kafka.partitioner import partition_of

WHOLE: Final = 2**31
"""Partitions enough for the hash itself: modulo the partition count it is the partition."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Of so many *sessions* one tenant has a share, and another share of the traffic; *exponent* is Zipf's s.

    The fewer sessions, the busier is the first: with more of them than are simulated load is more even.
    """

    sessions: int = 100_000
    tenant_traffic: float = 0.3
    tenant_sessions: float = 0.05
    exponent: float = 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """What each gets, as shares of all traffic; *of_tenant*: how much of the hottest partition is its own."""

    partitions: int
    workers: int
    hottest_partition: int
    partition: float
    of_tenant: float
    worker: float
    session: float

    @property
    def times_even(self) -> float:
        """How many times an even share the hottest partition gets."""
        return self.partition * self.partitions

    @property
    def worker_times_even(self) -> float:
        """How many times an even share the hottest worker gets."""
        return self.worker * self.workers


def spread(skew: Skew, partitions: int, workers: int) -> Spread:
    """Return who gets how much; partition *n* is worker *n* modulo *workers*'s."""
    shares, own = _shares(skew)
    place = _hashes(skew.sessions) % partitions
    load = np.bincount(place, shares, partitions)
    hottest = int(load.argmax())
    mine = shares[:own][place[:own] == hottest].sum()
    by_worker = np.bincount(np.arange(partitions) % workers, load, workers)
    return Spread(
        partitions=partitions,
        workers=workers,
        hottest_partition=hottest,
        partition=float(load[hottest]),
        of_tenant=float(mine / load[hottest]),
        worker=float(by_worker.max()),
        session=float(shares.max()),
    )


@lru_cache(maxsize=16)
def _shares(skew: Skew) -> tuple[NDArray[np.float64], int]:
    """Each session's share of the traffic, and how many of them, the first, are the large tenant's."""
    own = round(skew.sessions * skew.tenant_sessions)
    ours, theirs = _zipf(own, skew.exponent), _zipf(skew.sessions - own, skew.exponent)
    return np.concatenate([ours * skew.tenant_traffic, theirs * (1 - skew.tenant_traffic)]), own


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    busy = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = busy / busy.sum()
    return shares


@lru_cache(maxsize=4)
def _hashes(sessions: int) -> NDArray[np.int64]:
    keys = (b"%08x-5e55-4000-8000-%012x" % (n, n * 2654435761 % 2**48) for n in range(sessions))
    return np.fromiter((partition_of(key, WHOLE) for key in keys), np.int64, sessions)
