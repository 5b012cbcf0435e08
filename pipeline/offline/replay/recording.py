"""Recordings: a directory with one JSON-lines file per topic, read in event-time order and written atomically.

Lines are passed on unchanged: the reader decides what a line means and whether it is valid.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from heapq import merge
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, NamedTuple, Self, get_args

import zstandard

from pipeline.sources import Conversion
from pipeline.sources.ground_truth import UNNAMED, Intensity, Label, Truth
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY, REVOCATION_ACKS, SESSION_FEEDBACK

Compression = Literal["", "gz", "zst"]

INPUT_TOPICS: Final = (AUTH_EVENTS, DEVICE_TELEMETRY, API_CALLS, SESSION_FEEDBACK, REVOCATION_ACKS)
"""The topics of a recording, in the order in which records of the same time are read."""
TOPIC_OF: Final = {"auth.event": AUTH_EVENTS, "api.call": API_CALLS, "device.telemetry": DEVICE_TELEMETRY}
"""The topic of each type of event."""
SUFFIXES: Final[dict[str, Compression]] = {".jsonl": "", ".jsonl.gz": "gz", ".jsonl.zst": "zst"}
"""The suffixes of recorded files, and their compression."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer line is cut here, so that memory is bounded; it cannot be a valid event anyway."""
TRUTH: Final = "truth"
_TIME: Final = re.compile(rb'"occurred_at"\s*:\s*(\d{1,16})\s*[,}]')
_ARRIVED: Final = re.compile(rb'"recorded_at"\s*:\s*(\d{1,16})\s*[,}]')
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,99}")
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class RecordingError(Exception):
    """A recording cannot be read or written as asked; the message says which file, why, and what to do."""


class InputRecord(NamedTuple):
    """One line of a recording: *topic* and *line* number (from 1), *value*, and the time of its replay in ms.

    *occurred_at* is the time of arrival, if the record has a ``recorded_at``, as a device's clock may be wrong; else
    the time of the event. A line without a time gets that of the line before. If the next line has an earlier time,
    the later one is ignored: a single clock set to the year 9999 must not delay the rest of its file. *tenants* are
    those of the record's headers if it comes from a topic; files have no headers.
    """

    topic: str
    line: int
    value: bytes
    occurred_at: int
    tenants: Sequence[bytes] = ()


def read(directory: Path) -> Iterator[InputRecord]:
    """Yield every line of the input topics in *directory*, merged in event-time order, in bounded memory.

    Lines of a file stay in order; blank lines are skipped.

    Raises:
        RecordingError: there is nothing to read (raised at once), or a compressed file is damaged (at that line).
    """
    files = recorded_files(directory)
    if not files:
        raise RecordingError(
            f"{directory} has no recording: expected {', '.join(INPUT_TOPICS[:3])}, each .jsonl, .jsonl.gz "
            f"or .jsonl.zst"
        )
    return merged(list(files.items()))


def recorded_files(directory: Path) -> dict[str, Path]:
    """Return the files of input topics in *directory*.

    Raises:
        RecordingError: a topic has two files.
    """
    return {topic: path for topic in INPUT_TOPICS if (path := _find(directory, topic)) is not None}


def lines(directory: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each line of *topic* in *directory*, none if it has no such file.

    Raises:
        RecordingError: a compressed file is damaged (raised at that line).
    """
    path = _find(directory, topic)
    if path is not None:
        with _open(path) as file:
            yield from _lines(path, file)


def read_truth(directory: Path) -> list[Truth]:
    """Return the rows of a labelled recording's `truth.jsonl`.

    A missing or null family of an honest session is read as `UNNAMED`.

    Raises:
        RecordingError: there is no such file, or a row is wrong: an attack without a family, for example.
    """
    path = _find(directory, TRUTH)
    if path is None:
        raise RecordingError(f"{directory} is not labelled: it has no {TRUTH}.jsonl")
    with _open(path) as file:
        return [_truth(path, number, line) for number, line in _lines(path, file)]


@contextmanager
def write(directory: Path, compression: Compression = "") -> Iterator[Writer]:
    """Write a recording into *directory*; its files appear only if the block ends without an error.

    Raises:
        RecordingError: the directory already has a recording, and two must not be mixed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for found in sorted(directory.iterdir()):
        if found.name.endswith(tuple(SUFFIXES)):
            raise RecordingError(f"{directory} already has {found.name}; choose another directory or remove it")
    with Writer(directory, compression) as writer:
        yield writer


class Writer:
    """Writes events and ground truth, one line each, to temporary files that are renamed at the end."""

    def __init__(self, directory: Path, compression: Compression = "") -> None:
        self._directory = directory
        self._suffix = next(suffix for suffix, kind in SUFFIXES.items() if kind == compression)
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def event(self, topic: str, event: dict[str, Any]) -> None:
        """Write one event, a plain JSON object, to the file of *topic*."""
        self.line(topic, _ENCODE(event).encode())

    def line(self, topic: str, value: bytes) -> None:
        """Write one line unchanged; *value* must not contain a line break."""
        if b"\n" in value:
            raise RecordingError(f"{topic}: a value with a line break cannot be one line: {value[:60]!r}")
        file = self._files.get(topic) or self._create(topic)
        file.write(value)
        file.write(b"\n")

    def truth(self, row: Truth) -> None:
        """Write one row of `truth.jsonl`."""
        self.event(TRUTH, asdict(row))

    def _create(self, topic: str) -> IO[bytes]:
        if not _NAME.fullmatch(topic):
            raise RecordingError(f"{topic!r} cannot be the name of a topic's file: use a to z, 0 to 9 and -")
        file = _create(self._temporary(topic), SUFFIXES[self._suffix], self._stack)
        self._files[topic] = file
        return file

    def _temporary(self, topic: str) -> Path:
        return self._directory / f".{topic}{self._suffix}.part"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
            if kind is None:
                for topic in self._files:
                    self._temporary(topic).replace(self._directory / f"{topic}{self._suffix}")
        finally:
            for left in self._directory.glob(f".*{self._suffix}.part"):  # also one that is not in the table yet
                left.unlink()


def write_conversion(conversion: Conversion, directory: Path) -> None:
    """Write *conversion* as a recording into *directory*.

    Raises:
        RecordingError: the directory already has a recording.
    """
    with write(directory) as writer:
        for topic, events in conversion.events.items():
            for event in events:
                writer.event(topic, event)
        for row in conversion.truth:
            writer.truth(row)


def _find(directory: Path, topic: str) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := directory / f"{topic}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise RecordingError(f"{directory} has {names}: remove all but one")
    return found[0] if found else None


def merged(files: Sequence[tuple[str, Path]]) -> Iterator[InputRecord]:
    """Yield the lines of *files*, (topic, path) each, in event-time order, at equal times in the order of *files*."""
    with ExitStack() as stack:
        streams = [_timed(topic, _lines(path, stack.enter_context(_open(path)))) for topic, path in files]
        yield from merge(*streams, key=lambda record: record.occurred_at)


def _timed(topic: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[InputRecord]:
    """Give each line its time, one line late, so that a single wrong time cannot delay its file."""
    due = 0
    pending: tuple[int, bytes, int | None] | None = None
    for number, value in lines:
        found = _ARRIVED.search(value) or _TIME.search(value)
        time = int(found[1]) if found else None
        if pending is not None:
            due = _due(due, pending[2], time)
            yield InputRecord(topic, pending[0], pending[1], due)
        pending = (number, value, time)
    if pending is not None:
        yield InputRecord(topic, pending[0], pending[1], _due(due, pending[2], None))


def _due(previous: int, own: int | None, following: int | None) -> int:
    if own is None:
        return previous
    return own if following is None or following >= own else max(following, min(previous, own))


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
                pass
            value = line.rstrip(b"\r\n")
            if value.strip():
                yield number, value
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise RecordingError(f"{path}, after line {number}: cannot be read further: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        if path.name.endswith(".gz"):
            yield stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 18))
        elif path.name.endswith(".zst"):
            yield stack.enter_context(io.BufferedReader(_ZstdReader(raw), 1 << 18))
        else:
            yield raw


class _ZstdReader(io.RawIOBase):
    """Reader of a Zstandard file that, unlike the library's, raises an error if the file is truncated."""

    # A block of four bytes may expand to 128 KiB (RFC 8878 §3.1.1.2.2): small reads bound memory.
    READ_BYTES: Final = 1024

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._between_frames = True
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            packed = self._packed.read(self.READ_BYTES)
            if not packed:
                if self._between_frames:
                    return 0
                raise EOFError("the file is truncated")
            self._left = memoryview(b"".join(self._unpack(packed)))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _unpack(self, packed: bytes) -> Iterator[bytes]:
        while packed:
            yield self._frame.decompress(packed)
            packed = self._frame.unused_data
            self._between_frames = self._frame.eof
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()


def _create(path: Path, compression: Compression, stack: ExitStack) -> IO[bytes]:
    raw = stack.enter_context(path.open("wb"))
    if compression == "gz":
        # No name and no time in the header: the same events give the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        return stack.enter_context(io.BufferedWriter(packed, 1 << 18))
    if compression == "zst":
        return stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
    return raw


def _truth(path: Path, number: int, line: bytes) -> Truth:
    where = f"{path}, line {number}: not a row of ground truth"
    try:
        fields = json.loads(line)
        if fields.get("family") is None:
            fields["family"] = UNNAMED if fields.get("label") == "benign" else None
        row = Truth(**fields)
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordingError(f"{where}: {error}") from error
    if wrong := _wrong(row):
        raise RecordingError(f"{where}: {wrong}")
    return row


def _wrong(row: Truth) -> str:
    """What is wrong with the values of *row*, which come from JSON, and what to do; empty if nothing is."""
    if row.label not in get_args(Label):
        return f"label {row.label!r}; write one of {', '.join(get_args(Label))}"
    family: object = row.family
    if family is None:
        return "an attack without a family; name the kind of attack in family, a text such as mass_read"
    for name in ("tenant", "session_id", "family"):
        if not (isinstance(value := getattr(row, name), str) and value):
            return f"{name} {value!r}; write a text"
    for name in ("started_at", "ended_at"):
        if type(value := getattr(row, name)) is not int:
            return f"{name} {value!r}; write a whole number of milliseconds since 1970"
    if row.intensity not in (None, *get_args(Intensity)):
        return f"intensity {row.intensity!r}; write one of {', '.join(get_args(Intensity))}, or null"
    return ""
