"""Chunk: what Faust passes from the consumer to an agent, many records of one topic-partition as one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import faust
from faust.types import AppT
from faust.types.core import K, V
from faust.types.tuples import Message as FaustMessage

from pipeline.processing.processor import Record


class Chunk(NamedTuple):
    """Records of one topic-partition, offsets ascending; the value of a Faust event."""

    topic: str
    partition: int
    records: Sequence[Record]


class ChunkSchema(faust.Schema[Any, Any]):
    """Passes a chunk on unchanged: decoding is the processor's work."""

    def loads_key(self, app: AppT, message: FaustMessage, **_: Any) -> K:
        return None

    def loads_value(self, app: AppT, message: FaustMessage, **_: Any) -> V:
        return cast("V", message.value)
