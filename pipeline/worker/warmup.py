"""Compiles the loops over events before the first event comes: a new installation needs seconds for that.

Run as a program it does that and nothing else, for whoever installs or builds an image.
"""

from __future__ import annotations

from typing import Final

from models.artefacts import SHIPPED, load, load_roles
from models.events.columns import Columns
from models.state.table import SOURCES
from pipeline.control.active import ActiveConfig
from pipeline.processing.processor import InMemoryRecord
from pipeline.sessions.processor import Options, SessionProcessor
from schemas.decode import decode_chunk, record_key
from schemas.export import EXAMPLES


def compile_all(brain: ActiveConfig) -> None:
    """Have examples of every kind of event judged as *brain* does, and read back; nothing of it is kept."""
    like = ActiveConfig(judge=brain.judge, detector=brain.detector, roles=brain.roles)
    scorer, successor = (SessionProcessor(like, Columns(), Options()) for _ in range(2))
    for topic in SOURCES:
        values = [file.read_bytes() for file in sorted((EXAMPLES / topic / "valid").glob("*.json"))]
        keys = [record_key(topic, event) for event in decode_chunk(topic, values, None, now_ms=_LATE).events]
        enumerate_read = enumerate(zip(keys, values, strict=True))
        records = [InMemoryRecord(topic, 0, at, 0, key, value) for at, (key, value) in enumerate_read]
        successor.restore(scorer.process(topic, records, _LATE).rows)


_LATE: Final = 2**52
"""No example is of the future then."""


if __name__ == "__main__":
    compile_all(ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default")))
