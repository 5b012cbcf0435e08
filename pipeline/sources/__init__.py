"""Sources: logs of other systems, converted into events. This file is the table of sources and their protocol.

To add a source:

1. Write a package here, `pipeline/sources/NAME/`, whose `__init__.py` exports a function `convert` that is a
   :class:`Convert`; `truth` is ``()`` for logs without labels. It imports neither clock nor network. In
   `cloudtrail/`, `files.py` reads the log, `events.py` gives an event its shape and `convert.py` counts. An identity
   provider's session id is the `session_id`; what comes before a session gets one of its own.
2. Add its row to :data:`SOURCES`. `session-risk convert NAME` then exists.
3. Put sample logs of real systems (`*.json*`) with their `LICENSE` into `tests/data/NAME/SAMPLE/`, and say in
   `tests/data/NAME/README.md` where they come from and which licence they have, as that of `cloudtrail` does. A source
   without logs that may be passed on cannot be added.
4. Run `tests/sources/test_sources.py`, and list the fields that it prints as gaps.

`tests/sources/test_sources.py` refuses an entry that is not complete: every field that a detection needs either occurs
in the events of the sample logs or is listed as a gap, with the ATT&CK techniques that this source cannot show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from pipeline.sources.ground_truth import Truth

Event = dict[str, Any]
"""An event as it is on the wire: the fields of `schemas.events`, without those whose value is unknown."""


class UnreadableLogError(ValueError):
    """A file is not a log of its source; the message names the file, the place in it and what was expected."""

    def __init__(self, path: Path, place: str, problem: str) -> None:
        super().__init__(f"{path}, {place}: {problem}")


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records: *read* in total, *converted* events per topic, *skipped* records per reason.

    Every record is in one of them: nothing is dropped silently.
    """

    read: int
    converted: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion: *events* per topic in order of time, *truth* if the logs are labelled, *counts*."""

    events: Mapping[str, Sequence[Event]]
    truth: Sequence[Truth]
    counts: Counts


class Convert(Protocol):
    """The function `convert` of a source's package.

    It is pure except that it reads the files: no clock and no network, and the same files in any order give the same
    events. Event ids come from the log, so that converting a log twice gives duplicates that a worker recognises.
    Secrets in the log (tokens, keys) leave it only as hashes.
    """

    def __call__(self, paths: Iterable[Path]) -> Conversion:
        """Convert log files, or directories of them.

        A record that cannot become an event is counted with the reason, never an error.

        Raises:
            UnreadableLogError: a file is not a log of this source.
        """
        ...


class Gap(NamedTuple):
    """What a source does not log: why, the missing *fields* (topic.field), the ATT&CK *techniques* not detectable."""

    why: str
    fields: tuple[str, ...]
    techniques: tuple[str, ...] = ()


class Source(NamedTuple):
    """A row of the table of sources.

    Attributes:
        name: the sub-command of `session-risk convert`, and the folder of sample logs in `tests/data/`.
        package: where the converter is.
        title: the name of the logs, as their vendor writes it.
        files: which files are read.
        events: the types of the events that are made.
        documentation: where the vendor describes the format.
        licences: of the sample logs, by their folder in `tests/data/NAME/`.
        gaps: what detections need and the logs do not have.
    """

    name: str
    package: str
    title: str
    files: str
    events: tuple[str, ...]
    documentation: str
    licences: Mapping[str, str]
    gaps: tuple[Gap, ...]

    def convert(self, paths: Iterable[Path]) -> Conversion:
        """Convert *paths* with the converter of this source, which is loaded only now."""
        converter: Convert = import_module(self.package).convert
        return converter(paths)


SOURCES: Final = {
    source.name: source
    for source in (
        Source(
            name="cloudtrail",
            package="pipeline.sources.cloudtrail",
            title="AWS CloudTrail",
            files='JSON as AWS delivers it ({"Records": [...]}), a JSON list, or JSON lines; each also gzipped',
            events=("auth.event", "api.call"),
            documentation="https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html",
            licences={"stratus": "Apache-2.0", "invictus": "MIT"},
            gaps=(
                Gap(
                    "CloudTrail knows nothing of the devices that people use.",
                    fields=(
                        "device-telemetry.attestation",
                        "device-telemetry.attested_at",
                        "device-telemetry.compliant",
                        "device-telemetry.debugger",
                        "device-telemetry.developer_mode",
                        "device-telemetry.emulator",
                        "device-telemetry.encrypted",
                        "device-telemetry.heartbeat_interval_ms",
                        "device-telemetry.hooked",
                        "device-telemetry.malware",
                        "device-telemetry.managed",
                        "device-telemetry.occurred_at",
                        "device-telemetry.os_version",
                        "device-telemetry.patch_level",
                        "device-telemetry.platform",
                        "device-telemetry.rooted",
                        "device-telemetry.screen_lock",
                        "device-telemetry.sequence",
                        "device-telemetry.sim_id",
                    ),
                    techniques=(
                        "T1070.006",
                        "T1111",
                        "T1404",
                        "T1451",
                        "T1577",
                        "T1617",
                        "T1629.003",
                        "T1632.001",
                        "T1633.001",
                        "T1645",
                        "T1660",
                        "T1661",
                    ),
                ),
                Gap(
                    "Addresses are logged without their network's number, kind and location.",
                    fields=(
                        "api-calls.asn",
                        "api-calls.latitude",
                        "api-calls.longitude",
                        "api-calls.network_type",
                        "auth-events.asn",
                        "auth-events.latitude",
                        "auth-events.longitude",
                        "auth-events.network_type",
                    ),
                    techniques=("T1090.003",),
                ),
                Gap("TLS handshakes are not fingerprinted.", fields=("api-calls.ja4",)),
                Gap(
                    "AWS has policies where OAuth has scopes.",
                    fields=("api-calls.scope", "auth-events.scopes"),
                    techniques=("T1526",),
                ),
                Gap("Tools of AI agents are not logged.", fields=("api-calls.tool",), techniques=("T1059.009",)),
                Gap("Verdicts come from analysts.", fields=("session-feedback.verdict",)),
            ),
        ),
    )
}
"""Every source, by name."""
