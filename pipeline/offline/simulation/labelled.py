"""A simulation as a labelled world: a recording, and what is known of each session beside the truth.

`sessions.jsonl` and `world.json` are what `make evaluate WORLDS=FOLDER` and `make fit WORLDS=FOLDER` read
(:mod:`pipeline.offline.evaluation.foreign.labelled`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pipeline.offline.replay.recording import write
from pipeline.offline.simulation.run import Simulated, Simulation

SIMULATED: Final = "simulated"
"""The kind of company of every session of a simulation."""


def write_world(simulation: Simulation, folder: Path, events: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Write *simulation* into *folder* as a labelled world, and return the number of its events.

    *events* are those of the simulation, as they are read: *simulation* itself, or an iterable that counts them.

    Raises:
        RecordingError: the folder already has a recording.
    """
    volumes = Counter[str]()
    with write(folder) as writer:
        for topic, event in events:
            writer.event(topic, event)
            volumes[topic] += 1
        for session in simulation.sessions:
            writer.truth(session.truth)
            writer.event("sessions", _row(session))
        horizon = simulation.horizon
        world = {"start": horizon.start, "end": horizon.end, "volumes": dict(sorted(volumes.items()))}
        (folder / "world.json").write_text(json.dumps(world) + "\n", "utf-8")
    return volumes.total()


def _row(session: Simulated) -> dict[str, Any]:
    """The row of *session* in `sessions.jsonl`."""
    return {
        "tenant": session.truth.tenant,
        "session_id": session.truth.session_id,
        "archetype": SIMULATED,
        "principal_id": session.principal_id,
        "principal_kind": session.kind,
        "session_started_at": session.first_at,
        "session_ended_at": session.last_at,
    }
