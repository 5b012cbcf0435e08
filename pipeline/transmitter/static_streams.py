"""Declared streams: an operator's TOML file of streams for receivers without a management API (Okta, Google).

```toml
[streams.okta]
aud = "https://example.okta.com"
endpoint_url = "https://example.okta.com/security/api/v1/security-events"
events = ["session-revoked", "device-compliance-change"]
subject_in_event = true
```

The store holds them like any other stream. A stream that is removed from the file is removed from the store. A stream
with a `receiver` gets the events of that client's tenant; its own `tenant`, if it has one, must be the same.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import Connection

from pipeline.transmitter.protocol import EVENTS, POLL, PUSH, Status, Stream, SubjectForm
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.encryption import Sealer

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")
_EVENTS: Final = tuple(row.name for row in EVENTS.values() if not row.control)
_PREFIX: Final = receivers.DECLARED_PREFIX
_HEADER_VALUE: Final = re.compile(r"[ -~]{1,4096}")
_Text = Annotated[str, Field(min_length=1, max_length=512)]


class BadStreamsError(ValueError):
    """The file of streams cannot be used; the message has a line for everything that is wrong."""


class _StreamTable(BaseModel):
    """A table of the file. *receiver* is the client that polls; *authorization_file* holds the value of a header."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    aud: _Text
    method: Literal["push", "poll"] = "push"
    endpoint_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s#]+$")] | None = None
    receiver: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    authorization: Annotated[str, Field(pattern=rf"^{_HEADER_VALUE.pattern}$")] | None = None
    authorization_file: Path | None = None
    events: Annotated[list[str], Field(min_length=1)] | None = None
    subject_form: SubjectForm = "iss_sub"
    subject_in_event: bool = False
    personal_data: bool = False
    tenant: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: Annotated[str, Field(max_length=1000)] | None = None
    status: Status | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "push" and self.endpoint_url is None:
            raise ValueError("a push stream needs an endpoint_url")
        if self.method == "poll" and self.receiver is None:
            raise ValueError("a poll stream needs a receiver: the name of the client that polls it")
        if self.method == "poll" and (self.endpoint_url or self.authorization or self.authorization_file):
            raise ValueError("a poll stream has neither endpoint_url nor authorization")
        if self.authorization is not None and self.authorization_file is not None:
            raise ValueError("authorization and authorization_file exclude each other; give one of them")
        unknown = sorted(set(self.events or ()) - set(_EVENTS))
        if unknown:
            raise ValueError(f"events: unknown: {', '.join(unknown)}; known are {', '.join(_EVENTS)}")
        return self


@dataclass(frozen=True, slots=True)
class DeclaredStream:
    """A stream of the file: *status* only if the file sets one; its times are 0."""

    name: str
    stream: Stream
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class DeclaredStreamChanges:
    """What synchronizing the store with the file changed, by the names of the file."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def read_streams(path: Path) -> list[DeclaredStream]:
    """Read the streams in *path*; a stream keeps its id over restarts, because the id is made from its name.

    Raises `BadStreamsError` with a line for everything that is wrong, or `OSError` if the file cannot be read.
    """
    try:
        fields = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadStreamsError(f"{path}: not valid TOML: {error}") from None
    problems = [
        f"{path}: {name}: unknown; streams are written as [streams.NAME]" for name in fields if name != "streams"
    ]
    tables = fields.get("streams", {})
    if not isinstance(tables, dict):
        tables = {}
        problems.append(f"{path}: streams: not a table; streams are written as [streams.NAME]")
    found: list[DeclaredStream] = []
    for name, table in tables.items():
        try:
            found.append(_declared(path, name, table))
        except BadStreamsError as error:
            problems.append(str(error))
    if problems:
        raise BadStreamsError("\n".join(problems))
    return found


def sync_declared(
    conn: Connection, sealer: Sealer, declared: Sequence[DeclaredStream], now_ms: int
) -> DeclaredStreamChanges:
    """Make the declared streams in the store match the file; *conn* writes.

    The stored creation time stays, and so does the status unless the file sets one. Raises `BadStreamsError` with a
    line for each stream whose tenant differs from that of its receiver.
    """
    stored = {stream.stream_id: stream for stream in streams.declared(conn, sealer)}
    _check_tenants(conn, declared)
    own_tenants = streams.own_tenants(conn)
    added, changed = [], []
    for entry in declared:
        existing = stored.pop(entry.stream.stream_id, None)
        if existing is None:
            status = entry.status or "enabled"
            new = replace(entry.stream, status=status, created_at=now_ms, updated_at=now_ms)
            streams.add(conn, sealer, new)
            added.append(entry.name)
        elif _change(conn, sealer, entry, replace(existing, tenant=own_tenants[existing.stream_id]), now_ms):
            changed.append(entry.name)
    for stream_id in stored:
        streams.remove(conn, stream_id, now_ms)
    removed = tuple(stream_id.removeprefix(_PREFIX) for stream_id in stored)
    return DeclaredStreamChanges(tuple(added), tuple(changed), removed)


def _check_tenants(conn: Connection, declared: Sequence[DeclaredStream]) -> None:
    problems = []
    for entry in declared:
        tenant, receiver = entry.stream.tenant, receivers.get(conn, entry.stream.receiver_id)
        if receiver is not None and receiver.tenant is not None and tenant not in (None, receiver.tenant):
            problems.append(
                f"[streams.{entry.name}]: tenant: {tenant} differs from {receiver.tenant}, the tenant of "
                f"its receiver {receiver.receiver_id}; remove it, or change the receiver's with "
                "`session-risk transmitter clients tenant`"
            )
    if problems:
        raise BadStreamsError("\n".join(problems))


def _change(conn: Connection, sealer: Sealer, declared: DeclaredStream, existing: Stream, now_ms: int) -> bool:
    new = replace(
        declared.stream,
        status=existing.status,
        status_reason=existing.status_reason,
        created_at=existing.created_at,
        updated_at=existing.updated_at,
        verification_asked_at=existing.verification_asked_at,
    )
    changed = new != existing
    if changed:
        streams.change(conn, sealer, new)
    if declared.status is not None and declared.status != existing.status:
        streams.set_status(conn, existing.stream_id, declared.status, None, now_ms)
        changed = True
    return changed


def _declared(path: Path, name: str, table: Any) -> DeclaredStream:
    where = f"{path}: [streams.{name}]"
    if not _NAME.fullmatch(name):
        raise BadStreamsError(f"{where}: a name is 1 to 48 letters, digits, _ or -")
    try:
        table_model = _StreamTable.model_validate(table)
    except ValidationError as error:
        raise BadStreamsError("\n".join(f"{where}: {line}" for line in _messages(error))) from None
    stream = Stream(
        stream_id=f"{_PREFIX}{name}",
        receiver_id=table_model.receiver or f"{_PREFIX}{name}",
        aud=table_model.aud,
        declared=True,
        description=table_model.description,
        events_requested=None
        if table_model.events is None
        else tuple(EVENTS[event].uri for event in table_model.events),
        method=PUSH if table_model.method == "push" else POLL,
        endpoint_url=table_model.endpoint_url,
        authorization=_authorization(where, path, table_model),
        subject_form=table_model.subject_form,
        subject_in_event=table_model.subject_in_event,
        personal_data=table_model.personal_data,
        tenant=table_model.tenant,
    )
    return DeclaredStream(name, stream, table_model.status)


def _messages(error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False, include_input=False):
        what = ".".join(map(str, found["loc"]))
        message = found["msg"].removeprefix("Value error, ")
        yield f"{what}: {message}" if what else message


def _authorization(where: str, path: Path, table_model: _StreamTable) -> str | None:
    if table_model.authorization_file is None:
        return table_model.authorization
    file = path.parent / table_model.authorization_file
    try:
        value = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it contains characters that are not ASCII"
        raise BadStreamsError(f"{where}: authorization_file {file}: {why}") from None
    if not _HEADER_VALUE.fullmatch(value):
        raise BadStreamsError(f"{where}: authorization_file {file}: must be a single line, the value of a header")
    return value
