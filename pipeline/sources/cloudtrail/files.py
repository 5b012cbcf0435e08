"""Reader of CloudTrail files: `{"Records": [...]}`, a plain list, or JSON lines, each also gzipped.

It knows how records are packed into files, not what is in them.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.sources import UnreadableLogError

GZIP_MAGIC: Final = b"\x1f\x8b"
MAX_BYTES: Final = 256 * 1024 * 1024
SUFFIXES: Final = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
STRATUS_NAME: Final = re.compile(r"aws\.[a-z-]+\.(?P<technique>[a-z0-9-]+)\.jsonl?(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class Log:
    """The raw records of one file; *technique*: the recorded attack, if the name of the file states it."""

    path: Path
    records: list[Any]
    technique: str | None


def read_logs(paths: Iterable[Path]) -> Iterator[Log]:
    """Yield the log of each file of *paths*; a directory means all logs below it.

    Raises:
        UnreadableLogError: a file is not a CloudTrail log.
    """
    for path in paths:
        if path.is_dir():
            found = (below for below in path.rglob("*") if below.name.endswith(SUFFIXES) and below.is_file())
            yield from (read_log(below) for below in sorted(found))
        else:
            yield read_log(path)


def read_log(path: Path) -> Log:
    """Read one file.

    Raises:
        UnreadableLogError: it is not JSON, or has no records.
    """
    named = STRATUS_NAME.fullmatch(path.name)
    return Log(path, _records(path, _text(path)), named["technique"] if named else None)


def _text(path: Path) -> str:
    try:
        return _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableLogError(path, f"byte {error.start}", "is not UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableLogError(path, "gzip", f"is damaged or truncated ({error}); fetch it again") from error
    except OSError as error:
        raise UnreadableLogError(path, "opening", error.strerror or str(error)) from error


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        source: io.BufferedIOBase = gzip.GzipFile(fileobj=file) if zipped else file
        content = source.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableLogError(path, "size", f"is over {MAX_BYTES} bytes; split it")
    return content


def _records(path: Path, text: str) -> list[Any]:
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise UnreadableLogError(path, f"line {error.lineno}, column {error.colno}", error.msg) from error
        return [record for line in _lines(path, text) for record in _unpacked(path, line)]
    except (ValueError, RecursionError) as error:
        raise UnreadableLogError(path, "content", f"is not JSON that can be read ({error})") from error
    if isinstance(value, dict) and "Records" not in value and "eventName" not in value:
        raise UnreadableLogError(path, "top level", 'has neither "Records" nor an event; is it a digest file?')
    return _unpacked(path, value)


def _lines(path: Path, text: str) -> Iterator[Any]:
    # Not splitlines(): it also cuts at characters that JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UnreadableLogError(path, f"line {number}", f"is not a JSON value ({error})") from error


def _unpacked(path: Path, value: Any) -> list[Any]:
    records = value["Records"] if isinstance(value, dict) and "Records" in value else value
    if isinstance(records, list):
        return records
    if records is value and isinstance(value, dict):
        return [value]
    raise UnreadableLogError(path, "Records", f"must be a list of events, not {type(records).__name__}")
