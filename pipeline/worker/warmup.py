"""Warm-up of a worker: compiles the loops over events before the first event, or loads them from the disk cache.

A new installation takes about half a minute to compile. Run as a program this module does that and nothing else, for
`make install` or the build of an image.
"""

from __future__ import annotations

from typing import Final

from models.artefacts import SHIPPED, load, load_roles
from models.events.columns import Columns
from models.jit import open_disk_cache, remove_other_versions
from models.state.table import SOURCES
from pipeline.control.active import ActiveConfig
from pipeline.processing.processor import InMemoryRecord
from pipeline.sessions.processor import Options, SessionProcessor
from schemas.decode import decode_chunk, record_key
from schemas.export import EXAMPLES


def compile_all(active: ActiveConfig) -> None:
    """Score the examples of every kind of event as *active* does, and restore the result; none of it is kept.

    Machine code is written to the disk cache, and that of other versions is deleted there.
    """
    folder = open_disk_cache()
    if folder is not None:
        remove_other_versions(folder)
    config = ActiveConfig(engine=active.engine, detector=active.detector, roles=active.roles)
    processor, restored = (SessionProcessor(config, Columns(_KEY), Options()) for _ in range(2))
    for topic in SOURCES:
        values = [file.read_bytes() for file in sorted((EXAMPLES / topic / "valid").glob("*.json"))]
        keys = [record_key(topic, event) for event in decode_chunk(topic, values, None, now_ms=_NOW).events]
        records = [
            InMemoryRecord(topic, 0, offset, 0, key, value)
            for offset, (key, value) in enumerate(zip(keys, values, strict=True))
        ]
        restored.restore(processor.process(topic, records, _NOW).rows)


_NOW: Final = 2**52
"""Wall clock of the warm-up, ms: later than every example, so none is rejected as an event of the future."""
_KEY: Final = bytes(16)
"""Examples attack nobody: their hash key need not be secret."""


if __name__ == "__main__":
    compile_all(ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default")))
