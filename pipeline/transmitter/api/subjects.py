"""Subjects of a stream, added and removed by its receiver (SSF 1.0 §8.1.3); all are in it to begin with.

Whether a subject is known here is never told: asking would be a way to find out who is (§9.1).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field, WithJsonSchema
from sqlalchemy import Connection, func, select

from pipeline.transmitter.api.bearer import Manager
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import Request, StreamId
from pipeline.transmitter.api.paths import ADD_SUBJECT, REMOVE_SUBJECT
from pipeline.transmitter.api.problems import Problem
from pipeline.transmitter.identifiers import fault, schema
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.tables import stream_subjects

subjects_router = APIRouter(tags=["subjects"])

MOST: Final = 100_000
"""Subjects that a stream may lack."""
_TOO_MANY: Final = "a stream may lack {:,} subjects; add some of them again, or make another stream"


def _right(subject: dict[str, Any]) -> dict[str, Any]:
    if (wrong := fault(subject)) is not None:
        raise ValueError(wrong)
    return subject


Subject = Annotated[
    dict[str, Any],
    AfterValidator(_right),
    WithJsonSchema(
        {
            **schema(),
            "description": "A subject identifier (RFC 9493 §3; SSF 1.0 §3).",
            "examples": [{"format": "iss_sub", "iss": "https://idp.example.com", "sub": "u-12345"}],
        }
    ),
]


class RemoveSubject(Request):
    """A subject of which the stream shall hear no more."""

    stream_id: StreamId
    subject: Subject


class AddSubject(RemoveSubject):
    """A subject of which the stream shall hear."""

    verified: bool | None = Field(None, description="Whether the receiver has verified it. Not used here.")


@subjects_router.post(
    ADD_SUBJECT, operation_id="add_subject", response_class=Response, responses=refusals(400, 401, 403, 404)
)
def add(body: AddSubject, desk: Manager) -> Response:
    """Let the stream hear of a subject again (§8.1.3.2). The answer has no body."""
    with desk.begin() as conn:
        stream = desk.stream(conn, body.stream_id)
        streams.include(conn, stream.stream_id, body.subject, included=True)
    return Response(status_code=200)


@subjects_router.post(
    REMOVE_SUBJECT, status_code=204, operation_id="remove_subject", responses=refusals(400, 401, 403, 404)
)
def remove(body: RemoveSubject, desk: Manager) -> Response:
    """Let the stream hear of a subject no more (§8.1.3.3).

    A complex subject takes out what has all its members, identical: of one with more, as of a session of a
    user, the stream goes on hearing of the user.
    """
    with desk.begin() as conn:
        stream = desk.stream(conn, body.stream_id)
        new = streams.include(conn, stream.stream_id, body.subject, included=False)
        if new and _count(conn, stream.stream_id) > MOST:  # what is raised undoes it
            raise Problem(403, _TOO_MANY.format(MOST), "too_many_subjects")
    return Response(status_code=204)


def _count(conn: Connection, stream_id: str) -> int:
    mine = select(func.count()).where(stream_subjects.c.stream_id == stream_id)
    return int(conn.scalar(mine) or 0)
