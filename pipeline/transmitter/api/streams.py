"""A stream as its receiver sees it (SSF 1.0 §8.1.1), and what a receiver may say about one."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api.auth import Manager, Reader, ReceiverContext
from pipeline.transmitter.api.errors import (
    HeaderValue,
    Line,
    Problem,
    RequestBody,
    ResponseBody,
    StreamId,
    Uri,
    Url,
)
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import STREAM, Addresses
from pipeline.transmitter.protocol import POLL, PUSH, SUPPORTED, Method, Stream, SubjectForm
from pipeline.transmitter.store import streams
from pipeline.transmitter.tokens.stream_filter import events_delivered

_EVENTS: Final = [SUPPORTED[0]]


class Delivery(RequestBody):
    """How tokens reach the receiver (SSF 1.0 §6.1)."""

    method: Method = Field(examples=[POLL])
    endpoint_url: Url | None = Field(
        None, description="Where they are pushed to; of a poll, where they are polled, which we say."
    )
    authorization_header: HeaderValue | None = Field(
        None, description="Sent with every push as it is. Kept sealed.", examples=["Bearer 7rq…"]
    )


def _short(events: list[str]) -> list[str]:
    if len(events) > 100:
        raise ValueError("at most 100 event types")
    return events


Events = Annotated[list[Uri], AfterValidator(_short)]


class StreamRequest(RequestBody):
    """What a receiver says when it makes a stream. Without `delivery` it will poll (SSF 1.0 §8.1.1.1)."""

    events_requested: Events | None = Field(
        None, description="Types of event; unknown ones are left out. Without it: all.", examples=[_EVENTS]
    )
    delivery: Delivery | None = None
    description: Line | None = Field(None, examples=["Sign-in of example.com"])
    subject_form: SubjectForm = Field(
        "iss_sub", description="How subjects are named. Not of SSF: an addition (§4.2.3)."
    )
    subject_in_event: bool = Field(
        default=False, description="Also a `subject` in the event (SSF 1.0 §3.1.1). An addition."
    )
    personal_data: bool = Field(default=False, description="Also what names people beyond the subject. An addition.")


class StreamReplacement(StreamRequest):
    """A stream as it shall be: what is left out goes back to what it is without a word (SSF 1.0 §8.1.1.4).

    Members of the transmitter, if they are there, must be what they are.
    """

    stream_id: StreamId
    iss: Line | None = None
    aud: Line | list[Line] | None = None
    events_supported: Events | None = None
    events_delivered: Events | None = None
    min_verification_interval: int | None = None


class StreamChange(StreamReplacement):
    """Members that shall change; what is left out stays (SSF 1.0 §8.1.1.3)."""


class DeliveryAnswer(ResponseBody):
    """How tokens reach the receiver; its authorization header is told to tokens with `ssf.manage` only."""

    method: Method
    endpoint_url: str
    authorization_header: str | None = None


class StreamConfiguration(ResponseBody):
    """SSF 1.0 §8.1.1; the last three members are additions (§4.2.3)."""

    stream_id: StreamId
    iss: str = Field(examples=["https://risk.example.com"])
    aud: str = Field(examples=["https://idp.example.com"])
    events_supported: list[str]
    events_requested: list[str] | None = None
    events_delivered: list[str]
    delivery: DeliveryAnswer
    min_verification_interval: int = Field(description="Seconds")
    description: str | None = None
    subject_form: SubjectForm
    subject_in_event: bool
    personal_data: bool


@dataclass(frozen=True, slots=True)
class WireForm:
    """Streams put into the form of the wire, and what receivers say put into streams."""

    settings: TransmitterSettings
    guard: Callable[[str], None]

    def configuration(self, stream: Stream, *, secrets: bool) -> StreamConfiguration:
        """Put *stream* into the form of the wire; with its authorization header only if *secrets*."""
        poll = stream.method == POLL
        at = Addresses(self.settings.issuer)
        requested = stream.events_requested
        return StreamConfiguration(
            stream_id=stream.stream_id,
            iss=self.settings.issuer,
            aud=stream.aud,
            events_supported=list(SUPPORTED),
            events_requested=None if requested is None else list(requested),
            events_delivered=list(events_delivered(stream)),
            delivery=DeliveryAnswer(
                method=stream.method,
                endpoint_url=at.poll(stream.stream_id) if poll else stream.endpoint_url or "",
                authorization_header=stream.authorization if secrets else None,
            ),
            min_verification_interval=self.settings.min_verification_s,
            description=stream.description,
            subject_form=stream.subject_form,
            subject_in_event=stream.subject_in_event,
            personal_data=stream.personal_data,
        )

    def applied(self, stream: Stream, stream_request: StreamRequest, names: set[str]) -> Stream:
        """Return *stream* with the members *names* as *said*.

        Raises:
            Problem: the delivery cannot be done.
        """
        values: dict[str, Any] = {name: getattr(stream_request, name) for name in names & _PLAIN}
        if "events_requested" in names:
            requested = stream_request.events_requested
            values["events_requested"] = None if requested is None else tuple(requested)
        if "delivery" in names:
            values |= self._delivery(stream_request.delivery)
        return replace(stream, **values)

    def _delivery(self, delivery: Delivery | None) -> dict[str, Any]:
        if delivery is None or delivery.method == POLL:
            return {"method": POLL, "endpoint_url": None, "authorization": None}
        if delivery.endpoint_url is None:
            raise Problem(400, "delivery.endpoint_url: a push needs to know where to")
        try:
            self.guard(delivery.endpoint_url)
        except ValueError as error:
            raise Problem(400, f"delivery.endpoint_url: {error}") from None
        return {
            "method": PUSH,
            "endpoint_url": delivery.endpoint_url,
            "authorization": delivery.authorization_header,
        }

    def check_ours(self, stream_replacement: StreamReplacement, before: Stream, after: Stream) -> None:
        """Members of the transmitter must be what they are, or will be.

        Raises:
            Problem: one of them is another (SSF 1.0 §8.1.1.3).
        """
        for name in _OURS & stream_replacement.model_fields_set:
            given = _comparable(getattr(stream_replacement, name))
            expected = [
                _comparable(getattr(self.configuration(stream, secrets=False), name)) for stream in (before, after)
            ]
            if given not in expected:
                raise Problem(400, f"{name}: this is not for the receiver to say, and differs from what it is")
        if after.method == POLL and stream_replacement.delivery is not None:
            url = Addresses(self.settings.issuer).poll(after.stream_id)
            if stream_replacement.delivery.endpoint_url not in (None, url):
                raise Problem(400, f"delivery.endpoint_url: this stream is polled at {url}")


_PLAIN: Final = {"description", "subject_form", "subject_in_event", "personal_data"}
_OURS: Final = {"iss", "aud", "events_supported", "events_delivered", "min_verification_interval"}
MEMBERS: Final = {*_PLAIN, "events_requested", "delivery"}
"""What a receiver may say of a stream."""


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return frozenset(value)
    return frozenset({value}) if isinstance(value, str) else value


router = APIRouter(tags=["streams"])

OfStream = Annotated[StreamId, Query(description="Which stream.")]


@router.post(
    STREAM,
    status_code=201,
    operation_id="create_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 409),
)
def create(body: StreamRequest, context: Manager) -> StreamConfiguration:
    """Make a stream (§8.1.1.1)."""
    now_ms, receiver, most = context.now(), context.receiver, context.settings.max_streams
    stream_id, tenant = secrets.token_hex(16), receiver.tenant
    new = Stream(stream_id, receiver.receiver_id, receiver.aud, tenant=tenant, created_at=now_ms, updated_at=now_ms)
    stream = _form(context).applied(new, body, MEMBERS)
    with context.begin() as conn:
        if len(context.all(conn)) >= most:
            raise Problem(409, f"a receiver may have {most} streams", "too_many_streams")
        streams.add(conn, context.store.sealer, stream)
        return _told(context, context.stream(conn, stream.stream_id))


@router.get(
    STREAM,
    operation_id="read_streams",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def read(
    context: Reader,
    stream_id: Annotated[StreamId | None, Query(description="Which stream; without it, all.")] = None,
) -> StreamConfiguration | list[StreamConfiguration]:
    """Read a stream, or all that the receiver has (§8.1.1.2)."""
    with context.store.read() as conn:
        if stream_id is not None:
            return _told(context, context.stream(conn, stream_id))
        return [_told(context, stream) for stream in context.all(conn)]


@router.patch(
    STREAM,
    operation_id="update_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def change(body: StreamChange, context: Manager) -> StreamConfiguration:
    """Change what is said and keep the rest (§8.1.1.3)."""
    if "delivery" in body.model_fields_set and body.delivery is None:
        raise Problem(400, "delivery: a stream has one")
    return _write(context, body, MEMBERS & body.model_fields_set)


@router.put(
    STREAM,
    operation_id="replace_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def put(body: StreamReplacement, context: Manager) -> StreamConfiguration:
    """Replace all that a receiver may say (§8.1.1.4)."""
    return _write(context, body, MEMBERS)


@router.delete(STREAM, status_code=204, operation_id="delete_stream", responses=refusals(400, 401, 403, 404))
def delete(stream_id: OfStream, context: Manager) -> Response:
    """Delete a stream and what waits in it (§8.1.1.5)."""
    with context.begin() as conn:
        streams.remove(conn, context.changeable(conn, stream_id).stream_id, context.now())
    context.ring(stream_id)
    context.services.bell.forget(stream_id)
    return Response(status_code=204)


def _write(context: ReceiverContext, stream_replacement: StreamReplacement, names: set[str]) -> StreamConfiguration:
    form = _form(context)
    with context.begin() as conn:
        before = context.changeable(conn, stream_replacement.stream_id)
        after = form.applied(before, stream_replacement, names)
        form.check_ours(stream_replacement, before, after)
        if after != before:
            streams.change(conn, context.store.sealer, after)
        stream_configuration = _told(context, context.stream(conn, stream_replacement.stream_id))
    context.ring(stream_replacement.stream_id)
    return stream_configuration


def _form(context: ReceiverContext) -> WireForm:
    return WireForm(context.settings, context.services.guard)


def _told(context: ReceiverContext, stream: Stream) -> StreamConfiguration:
    return _form(context).configuration(stream, secrets=context.manages)
