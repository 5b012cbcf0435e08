"""Stream configuration API (SSF 1.0 §8.1.1): create, read, update, replace and delete streams."""

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
        None, description="Push: where the receiver gets them. Poll: set by the transmitter."
    )
    authorization_header: HeaderValue | None = Field(
        None, description="Sent unchanged with every push. Stored encrypted.", examples=["Bearer 7rq…"]
    )


def _at_most_100(events: list[str]) -> list[str]:
    if len(events) > 100:
        raise ValueError("at most 100 event types")
    return events


Events = Annotated[list[Uri], AfterValidator(_at_most_100)]


class StreamRequest(RequestBody):
    """Fields of a new stream. Without `delivery` the receiver polls (SSF 1.0 §8.1.1.1)."""

    events_requested: Events | None = Field(
        None, description="Event types; unknown ones are ignored. Default: all.", examples=[_EVENTS]
    )
    delivery: Delivery | None = None
    description: Line | None = Field(None, examples=["Sign-in of example.com"])
    subject_form: SubjectForm = Field(
        "iss_sub", description="Format of subject identifiers. Not part of SSF: an addition (§4.2.3)."
    )
    subject_in_event: bool = Field(
        default=False, description="Repeat the subject as `subject` in the event (SSF 1.0 §3.1.1). An addition."
    )
    personal_data: bool = Field(default=False, description="Include personal data beyond the subject. An addition.")


class StreamReplacement(StreamRequest):
    """The complete new configuration; an absent field gets its default value (SSF 1.0 §8.1.1.4).

    Fields of the transmitter, if present, must have their current values.
    """

    stream_id: StreamId
    iss: Line | None = None
    aud: Line | list[Line] | None = None
    events_supported: Events | None = None
    events_delivered: Events | None = None
    min_verification_interval: int | None = None


class StreamChange(StreamReplacement):
    """The fields to change; an absent field stays as it is (SSF 1.0 §8.1.1.3)."""


class DeliveryConfiguration(ResponseBody):
    """How tokens reach the receiver; `authorization_header` is shown only to tokens with `ssf.manage`."""

    method: Method
    endpoint_url: str
    authorization_header: str | None = None


class StreamConfiguration(ResponseBody):
    """SSF 1.0 §8.1.1; the last three fields are additions (§4.2.3)."""

    stream_id: StreamId
    iss: str = Field(examples=["https://risk.example.com"])
    aud: str = Field(examples=["https://idp.example.com"])
    events_supported: list[str]
    events_requested: list[str] | None = None
    events_delivered: list[str]
    delivery: DeliveryConfiguration
    min_verification_interval: int = Field(description="Seconds")
    description: str | None = None
    subject_form: SubjectForm
    subject_in_event: bool
    personal_data: bool


@dataclass(frozen=True, slots=True)
class WireForm:
    """Converts streams to API responses, and applies requests to streams."""

    settings: TransmitterSettings
    guard: Callable[[str], None]

    def configuration(self, stream: Stream, *, secrets: bool) -> StreamConfiguration:
        """Return *stream* as an API response; with its authorization header only if *secrets*."""
        is_poll = stream.method == POLL
        addresses = Addresses(self.settings.issuer)
        requested = stream.events_requested
        return StreamConfiguration(
            stream_id=stream.stream_id,
            iss=self.settings.issuer,
            aud=stream.aud,
            events_supported=list(SUPPORTED),
            events_requested=None if requested is None else list(requested),
            events_delivered=list(events_delivered(stream)),
            delivery=DeliveryConfiguration(
                method=stream.method,
                endpoint_url=addresses.poll(stream.stream_id) if is_poll else stream.endpoint_url or "",
                authorization_header=stream.authorization if secrets else None,
            ),
            min_verification_interval=self.settings.min_verification_s,
            description=stream.description,
            subject_form=stream.subject_form,
            subject_in_event=stream.subject_in_event,
            personal_data=stream.personal_data,
        )

    def applied(self, stream: Stream, stream_request: StreamRequest, names: set[str]) -> Stream:
        """Return *stream* with the fields *names* of the request.

        Raises:
            Problem: the delivery method or address is not possible.
        """
        values: dict[str, Any] = {name: getattr(stream_request, name) for name in names & _PLAIN_FIELDS}
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
            raise Problem(400, "delivery.endpoint_url: required for push delivery")
        try:
            self.guard(delivery.endpoint_url)
        except ValueError as error:
            raise Problem(400, f"delivery.endpoint_url: {error}") from None
        return {
            "method": PUSH,
            "endpoint_url": delivery.endpoint_url,
            "authorization": delivery.authorization_header,
        }

    def check_transmitter_fields(self, stream_replacement: StreamReplacement, before: Stream, after: Stream) -> None:
        """Check that the transmitter's fields have their old or their new value.

        Raises:
            Problem: one of them differs (SSF 1.0 §8.1.1.3).
        """
        for name in _TRANSMITTER_FIELDS & stream_replacement.model_fields_set:
            sent = _comparable(getattr(stream_replacement, name))
            expected = [
                _comparable(getattr(self.configuration(stream, secrets=False), name)) for stream in (before, after)
            ]
            if sent not in expected:
                raise Problem(400, f"{name}: the transmitter sets this field, and its value differs")
        if after.method == POLL and stream_replacement.delivery is not None:
            url = Addresses(self.settings.issuer).poll(after.stream_id)
            if stream_replacement.delivery.endpoint_url not in (None, url):
                raise Problem(400, f"delivery.endpoint_url: this stream is polled at {url}")


_PLAIN_FIELDS: Final = {"description", "subject_form", "subject_in_event", "personal_data"}
_TRANSMITTER_FIELDS: Final = {"iss", "aud", "events_supported", "events_delivered", "min_verification_interval"}
RECEIVER_FIELDS: Final = {*_PLAIN_FIELDS, "events_requested", "delivery"}
"""Fields that a receiver may set."""


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
    """Create a stream (§8.1.1.1)."""
    now_ms, receiver, limit = context.now(), context.receiver, context.settings.max_streams
    stream_id, tenant = secrets.token_hex(16), receiver.tenant
    new = Stream(stream_id, receiver.receiver_id, receiver.aud, tenant=tenant, created_at=now_ms, updated_at=now_ms)
    stream = _wire_form(context).applied(new, body, RECEIVER_FIELDS)
    with context.begin() as conn:
        if len(context.own_streams(conn)) >= limit:
            raise Problem(409, f"a receiver may have {limit} streams", "too_many_streams")
        streams.add(conn, context.store.sealer, stream)
        return _response(context, context.stream(conn, stream.stream_id))


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
    """Read a stream, or all streams of the receiver (§8.1.1.2)."""
    with context.store.read() as conn:
        if stream_id is not None:
            return _response(context, context.stream(conn, stream_id))
        return [_response(context, stream) for stream in context.own_streams(conn)]


@router.patch(
    STREAM,
    operation_id="update_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def change(body: StreamChange, context: Manager) -> StreamConfiguration:
    """Change the given fields and keep the others (§8.1.1.3)."""
    if "delivery" in body.model_fields_set and body.delivery is None:
        raise Problem(400, "delivery: must not be null")
    return _write(context, body, RECEIVER_FIELDS & body.model_fields_set)


@router.put(
    STREAM,
    operation_id="replace_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def put(body: StreamReplacement, context: Manager) -> StreamConfiguration:
    """Replace all fields that a receiver may set (§8.1.1.4)."""
    return _write(context, body, RECEIVER_FIELDS)


@router.delete(STREAM, status_code=204, operation_id="delete_stream", responses=refusals(400, 401, 403, 404))
def delete(stream_id: OfStream, context: Manager) -> Response:
    """Delete a stream and the tokens that wait in it (§8.1.1.5)."""
    with context.begin() as conn:
        streams.remove(conn, context.changeable_stream(conn, stream_id).stream_id, context.now())
    context.wake_waiters(stream_id)
    context.services.notifier.forget(stream_id)
    return Response(status_code=204)


def _write(context: ReceiverContext, stream_replacement: StreamReplacement, names: set[str]) -> StreamConfiguration:
    wire_form = _wire_form(context)
    with context.begin() as conn:
        before = context.changeable_stream(conn, stream_replacement.stream_id)
        after = wire_form.applied(before, stream_replacement, names)
        wire_form.check_transmitter_fields(stream_replacement, before, after)
        if after != before:
            streams.change(conn, context.store.sealer, after)
        stream_configuration = _response(context, context.stream(conn, stream_replacement.stream_id))
    context.wake_waiters(stream_replacement.stream_id)
    return stream_configuration


def _wire_form(context: ReceiverContext) -> WireForm:
    return WireForm(context.settings, context.services.guard)


def _response(context: ReceiverContext, stream: Stream) -> StreamConfiguration:
    return _wire_form(context).configuration(stream, secrets=context.may_manage)
