"""Recordings: a directory with a JSON-lines file per topic, read in event-time order, written all or nothing.

Lines are passed on as they stand: what a line means, and whether it is valid, is for the reader to decide.
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
from typing import IO, Any, Final, Literal, NamedTuple, Self

import zstandard

from pipeline.sources import Conversion
from pipeline.sources.ground_truth import Truth
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY, REVOCATION_ACKS, SESSION_FEEDBACK

Compression = Literal["", "gz", "zst"]

INPUT_TOPICS: Final = (AUTH_EVENTS, DEVICE_TELEMETRY, API_CALLS, SESSION_FEEDBACK, REVOCATION_ACKS)
"""The topics a recording is read from; at equal times the earlier in this list comes first."""
TOPIC_OF: Final = {"auth.event": AUTH_EVENTS, "api.call": API_CALLS, "device.telemetry": DEVICE_TELEMETRY}
"""The topic that each type of event flows on."""
SUFFIXES: Final[dict[str, Compression]] = {".jsonl": "", ".jsonl.gz": "gz", ".jsonl.zst": "zst"}
"""How a recorded file's name may end, and what it is compressed with."""
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer line is cut here, so that memory stays bounded; it cannot be a valid event either way."""
TRUTH: Final = "truth"
_TIME: Final = re.compile(rb'"occurred_at"\s*:\s*(\d{1,16})\s*[,}]')
_ARRIVED: Final = re.compile(rb'"recorded_at"\s*:\s*(\d{1,16})\s*[,}]')
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,99}")
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class RecordingError(Exception):
    """A recording cannot be read or written as asked; the message says which file, why, and what to do."""


class InputRecord(NamedTuple):
    """One line of a recording: where it stands (*topic* and *line*, from 1), and when it is due, in ms.

    That is when it arrived, if it says so as ``recorded_at``: a device's clock may be wrong. Else it is when
    its event happened. A line that tells no time is due with the line before it; so is, about, one whose time
    the next line takes back: a single clock in the year 9999 shall not hold back the rest of its file. A file
    keeps no headers; of what came from a topic, *tenants* is whose it is by them.
    """

    topic: str
    line: int
    value: bytes
    occurred_at: int
    tenants: Sequence[bytes] = ()


def read(directory: Path) -> Iterator[InputRecord]:
    """Yield every line of the input topics in *directory*, merged in event-time order, in bounded memory.

    Lines keep their order within a file; blank ones are left out. Raises `RecordingError` at once where there
    is nothing to read, and at the line where a compressed file turns out to be damaged.
    """
    files = recorded_files(directory)
    if not files:
        raise RecordingError(
            f"{directory} holds no recording: expected {', '.join(INPUT_TOPICS[:3])}, each .jsonl, .jsonl.gz "
            f"or .jsonl.zst"
        )
    return merged(list(files.items()))


def recorded_files(directory: Path) -> dict[str, Path]:
    """Return the files of input topics in *directory*; raises `RecordingError` where one is there twice."""
    return {topic: path for topic in INPUT_TOPICS if (path := _find(directory, topic)) is not None}


def lines(directory: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each line about *topic* in *directory*, none if it has no such file.

    Raises `RecordingError` at the line where a compressed file turns out to be damaged.
    """
    path = _find(directory, topic)
    if path is not None:
        with _open(path) as file:
            yield from _lines(path, file)


def read_truth(directory: Path) -> list[Truth]:
    """Return the rows of a labelled recording's `truth.jsonl`; `RecordingError` names a row that is wrong."""
    path = _find(directory, TRUTH)
    if path is None:
        raise RecordingError(f"{directory} is not labelled: it has no {TRUTH}.jsonl")
    with _open(path) as file:
        return [_truth(path, number, line) for number, line in _lines(path, file)]


@contextmanager
def write(directory: Path, compression: Compression = "") -> Iterator[Writer]:
    """Write a recording into *directory*; its files appear only when the block ends well.

    Raises `RecordingError` if a recording is already there: two must not mix.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for found in sorted(directory.iterdir()):
        if found.name.endswith(tuple(SUFFIXES)):
            raise RecordingError(f"{directory} already holds {found.name}; choose another or remove it")
    with Writer(directory, compression) as writer:
        yield writer


class Writer:
    """Takes events and truth, one line each, into temporary files that are renamed when all is written."""

    def __init__(self, directory: Path, compression: Compression = "") -> None:
        self._directory = directory
        self._suffix = next(suffix for suffix, kind in SUFFIXES.items() if kind == compression)
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def event(self, topic: str, event: dict[str, Any]) -> None:
        """Write one event, a plain JSON object, to the file of *topic*."""
        self.line(topic, _ENCODE(event).encode())

    def line(self, topic: str, value: bytes) -> None:
        """Write one line as it is; *value* may hold no line break."""
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
            raise RecordingError(f"{topic!r} is no name for a topic's file: use a to z, 0 to 9 and -")
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
            for left in self._directory.glob(f".*{self._suffix}.part"):  # one may not be in the table yet
                left.unlink()


def write_conversion(conversion: Conversion, directory: Path) -> None:
    """Write *conversion* as a recording into *directory*; RecordingError if it already holds one."""
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
        raise RecordingError(f"{directory} holds {names}: keep the one that is meant")
    return found[0] if found else None


def merged(files: Sequence[tuple[str, Path]]) -> Iterator[InputRecord]:
    """Yield the lines of *files*, each of a topic, in event-time order; at equal times in theirs."""
    with ExitStack() as stack:
        streams = [_timed(topic, _lines(path, stack.enter_context(_open(path)))) for topic, path in files]
        yield from merge(*streams, key=lambda record: record.occurred_at)


def _timed(topic: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[InputRecord]:
    """Give each line its time, one line behind, so that a single absurd time cannot hold back its file."""
    due = 0
    held: tuple[int, bytes, int | None] | None = None
    for number, value in lines:
        found = _ARRIVED.search(value) or _TIME.search(value)
        time = int(found[1]) if found else None
        if held is not None:
            due = _due(due, held[2], time)
            yield InputRecord(topic, held[0], held[1], due)
        held = (number, value, time)
    if held is not None:
        yield InputRecord(topic, held[0], held[1], _due(due, held[2], None))


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
        raise RecordingError(f"{path}, after line {number}: cannot be read any further: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        if path.name.endswith(".gz"):
            yield stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 18))
        elif path.name.endswith(".zst"):
            yield stack.enter_context(io.BufferedReader(_Unpacked(raw), 1 << 18))
        else:
            yield raw


class _Unpacked(io.RawIOBase):
    """What is packed in a Zstandard file. Unlike the library's reader it complains of a file cut short."""

    # A block of four bytes may stand for 128 KiB (RFC 8878 §3.1.1.2.2): small bites keep memory bounded.
    BITE: Final = 1024

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._between_frames = True
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            bite = self._packed.read(self.BITE)
            if not bite:
                if self._between_frames:
                    return 0
                raise EOFError("the file is cut short")
            self._left = memoryview(b"".join(self._unpack(bite)))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _unpack(self, bite: bytes) -> Iterator[bytes]:
        while bite:
            yield self._frame.decompress(bite)
            bite = self._frame.unused_data
            self._between_frames = self._frame.eof
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()


def _create(path: Path, compression: Compression, stack: ExitStack) -> IO[bytes]:
    raw = stack.enter_context(path.open("wb"))
    if compression == "gz":
        # No name and no time in the header: the same events make the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
        return stack.enter_context(io.BufferedWriter(packed, 1 << 18))
    if compression == "zst":
        return stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
    return raw


def _truth(path: Path, number: int, line: bytes) -> Truth:
    try:
        return Truth(**json.loads(line))
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{path}, line {number}: not a row of truth: {error}") from error
