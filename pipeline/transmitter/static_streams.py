"""Streams the operator declares in a TOML file, for receivers that have no management API (Okta, Google).

```toml
[streams.okta]
aud = "https://example.okta.com"
endpoint_url = "https://example.okta.com/security/api/v1/security-events"
events = ["session-revoked", "device-compliance-change"]
subject_in_event = true
```

They lie in the store as every other stream does. A stream that is taken out of the file is removed from it.
One with a `receiver` hears of that client's tenant; the `tenant` it says must not be another.
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
_PREFIX: Final = receivers.OF_STREAMS
_HEADER: Final = re.compile(r"[ -~]{1,4096}")
_Text = Annotated[str, Field(min_length=1, max_length=512)]


class BadStreamsError(ValueError):
    """The file of streams cannot be used; the message has a line for everything that is wrong."""


class _StreamTable(BaseModel):
    """A table of the file. *receiver* is the client that polls; *authorization_file* holds a header."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    aud: _Text
    method: Literal["push", "poll"] = "push"
    endpoint_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s#]+$")] | None = None
    receiver: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    authorization: Annotated[str, Field(pattern=rf"^{_HEADER.pattern}$")] | None = None
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
            raise ValueError("a stream that is pushed needs an endpoint_url")
        if self.method == "poll" and self.receiver is None:
            raise ValueError("a stream that is polled needs the receiver that polls it: the name of a client")
        if self.method == "poll" and (self.endpoint_url or self.authorization or self.authorization_file):
            raise ValueError("a stream that is polled has neither endpoint_url nor authorization")
        if self.authorization is not None and self.authorization_file is not None:
            raise ValueError("authorization and authorization_file say the same; give one of them")
        unknown = sorted(set(self.events or ()) - set(_EVENTS))
        if unknown:
            raise ValueError(f"events: there is no {', '.join(unknown)}; there are {', '.join(_EVENTS)}")
        return self


@dataclass(frozen=True, slots=True)
class DeclaredStream:
    """A stream of the file: its *status* only if the file says one, its times 0."""

    name: str
    stream: Stream
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class DeclaredStreamChanges:
    """What bringing the file into the store changed, by the names of the file."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def read_streams(path: Path) -> list[DeclaredStream]:
    """Read the streams in *path*; each has the same id on every start, by its name.

    Raises `BadStreamsError` with a line for everything that is wrong, or `OSError` where it cannot be read.
    """
    try:
        fields = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadStreamsError(f"{path}: is not TOML: {error}") from None
    wrong = [f"{path}: {name}: is unknown; streams are [streams.NAME]" for name in fields if name != "streams"]
    tables = fields.get("streams", {})
    if not isinstance(tables, dict):
        tables = {}
        wrong.append(f"{path}: streams: is no table; streams are [streams.NAME]")
    found: list[DeclaredStream] = []
    for name, table in tables.items():
        try:
            found.append(_declared(path, name, table))
        except BadStreamsError as error:
            wrong.append(str(error))
    if wrong:
        raise BadStreamsError("\n".join(wrong))
    return found


def bring(conn: Connection, sealer: Sealer, declared: Sequence[DeclaredStream], now_ms: int) -> DeclaredStreamChanges:
    """Make the declared streams of the store those of the file; *conn* writes.

    What happened to a stream stays: when it was made, and its status unless the file says one. Raises
    `BadStreamsError` with a line for each stream that says another tenant than its receiver has.
    """
    there = {stream.stream_id: stream for stream in streams.declared(conn, sealer)}
    _check_tenants(conn, declared)
    own = streams.own_tenants(conn)
    added, changed = [], []
    for this_declared in declared:
        old = there.pop(this_declared.stream.stream_id, None)
        if old is None:
            status = this_declared.status or "enabled"
            new = replace(this_declared.stream, status=status, created_at=now_ms, updated_at=now_ms)
            streams.add(conn, sealer, new)
            added.append(this_declared.name)
        elif _change(conn, sealer, this_declared, replace(old, tenant=own[old.stream_id]), now_ms):
            changed.append(this_declared.name)
    for stream_id in there:
        streams.remove(conn, stream_id, now_ms)
    removed = tuple(stream_id.removeprefix(_PREFIX) for stream_id in there)
    return DeclaredStreamChanges(tuple(added), tuple(changed), removed)


def _check_tenants(conn: Connection, declared: Sequence[DeclaredStream]) -> None:
    wrong = []
    for this_declared in declared:
        tenant, receiver = this_declared.stream.tenant, receivers.get(conn, this_declared.stream.receiver_id)
        if receiver is not None and receiver.tenant is not None and tenant not in (None, receiver.tenant):
            wrong.append(
                f"[streams.{this_declared.name}]: tenant: {tenant} is another than that of its receiver "
                f"{receiver.receiver_id}, {receiver.tenant}; leave it out, or give the receiver this one "
                "with `session-risk transmitter clients tenant`"
            )
    if wrong:
        raise BadStreamsError("\n".join(wrong))


def _change(conn: Connection, sealer: Sealer, declared: DeclaredStream, old: Stream, now_ms: int) -> bool:
    new = replace(
        declared.stream,
        status=old.status,
        status_reason=old.status_reason,
        created_at=old.created_at,
        updated_at=old.updated_at,
        verification_asked_at=old.verification_asked_at,
    )
    changed = new != old
    if changed:
        streams.change(conn, sealer, new)
    if declared.status is not None and declared.status != old.status:
        streams.set_status(conn, old.stream_id, declared.status, None, now_ms)
        changed = True
    return changed


def _declared(path: Path, name: str, table: Any) -> DeclaredStream:
    where = f"{path}: [streams.{name}]"
    if not _NAME.fullmatch(name):
        raise BadStreamsError(f"{where}: a name is 1 to 48 letters, digits, _ or -")
    try:
        told_read = _StreamTable.model_validate(table)
    except ValidationError as error:
        raise BadStreamsError("\n".join(f"{where}: {line}" for line in _complaints(error))) from None
    stream = Stream(
        stream_id=f"{_PREFIX}{name}",
        receiver_id=told_read.receiver or f"{_PREFIX}{name}",
        aud=told_read.aud,
        declared=True,
        description=told_read.description,
        events_requested=None if told_read.events is None else tuple(EVENTS[event].uri for event in told_read.events),
        method=PUSH if told_read.method == "push" else POLL,
        endpoint_url=told_read.endpoint_url,
        authorization=_authorization(where, path, told_read),
        subject_form=told_read.subject_form,
        subject_in_event=told_read.subject_in_event,
        personal_data=told_read.personal_data,
        tenant=told_read.tenant,
    )
    return DeclaredStream(name, stream, told_read.status)


def _complaints(error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False, include_input=False):
        what = ".".join(map(str, found["loc"]))
        message = found["msg"].removeprefix("Value error, ")
        yield f"{what}: {message}" if what else message


def _authorization(where: str, path: Path, details: _StreamTable) -> str | None:
    if details.authorization_file is None:
        return details.authorization
    file = path.parent / details.authorization_file
    try:
        value = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds more than ASCII"
        raise BadStreamsError(f"{where}: authorization_file {file}: {why}") from None
    if not _HEADER.fullmatch(value):
        raise BadStreamsError(f"{where}: authorization_file {file}: is not one line, the value of a header")
    return value
