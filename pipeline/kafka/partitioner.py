"""Kafka's default partitioner, as in the Java client: murmur2 of the key."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=50_000)
def partition_of(key: bytes | None, partitions: int) -> int:
    """Return the partition of *key*: murmur2, made positive, modulo *partitions*; 0 without a key."""
    return 0 if key is None else int(murmur2(key) & 0x7FFFFFFF) % partitions
