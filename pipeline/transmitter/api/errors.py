"""Error responses of the API: one form, RFC 6749 §5.2 and RFC 6750 §3, for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter.store.database import StoreError

STORABLE: Final = r"^[^\x00]*$"
"""Text without NUL, which PostgreSQL cannot store."""
HEADER: Final = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
"""RFC 9110 §5.5, without obs-text: anything else could end the header and start another one."""

Line = Annotated[str, Field(max_length=512, pattern=STORABLE)]
Uri = Annotated[str, Field(min_length=1, max_length=512, pattern=STORABLE)]
Url = Annotated[str, Field(min_length=1, max_length=2048, pattern=STORABLE)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=4096, pattern=HEADER)]
StreamId = Annotated[str, Field(max_length=256, examples=["f67e39a0a4d34d56b3aa1bc4cff0069f"])]


class RequestBody(BaseModel):
    """A request body: JSON types are strict, unknown fields are ignored (SSF 1.0 §4.2.3)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class ResponseBody(BaseModel):
    """A response body: fields without a value are left out."""

    model_config = ConfigDict(frozen=True)


REALM: Final = "ssf"
NO_STORE: Final = {"Cache-Control": "no-store"}
BUSY_S: Final = 1
"""Seconds after which a client may repeat a request that the store could not serve."""

_log = logging.getLogger(__name__)

_ERROR_CODES: Final = {
    400: "invalid_request",
    401: "invalid_token",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    414: "uri_too_long",
    429: "too_many_requests",
    503: "temporarily_unavailable",
}


class Refusal(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="An error code for programs.", examples=["invalid_request"])
    error_description: str = Field(description="A sentence for people.", examples=["stream_id: a value is missing"])


class Problem(Exception):
    """A refused request: an HTTP status, an error code for programs and a sentence for people."""

    def __init__(
        self, status: int, text: str, error: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.error = error or _ERROR_CODES.get(status, "error")
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The HTTP response."""
        body = {"error": self.error, "error_description": self.text}
        return JSONResponse(body, self.status, {**NO_STORE, **self.headers})


def not_found(stream_id: str) -> Problem:
    """Response for a stream that does not exist or belongs to another receiver: the two are indistinguishable."""
    shown = "".join(letter for letter in stream_id[:64] if letter.isascii() and letter.isprintable())
    return Problem(404, f"you have no stream {shown!r}")


def no_token() -> Problem:
    """RFC 6750 §3.1: the challenge has no error code if the request has no token at all."""
    headers = {"WWW-Authenticate": f'Bearer realm="{REALM}"'}
    return Problem(401, "send an access token in the header Authorization: Bearer", "invalid_request", headers)


def bad_token(text: str) -> Problem:
    """The token is malformed, not issued by us, expired or revoked."""
    challenge = f'Bearer realm="{REALM}", error="invalid_token", error_description="{text}"'
    return Problem(401, text, "invalid_token", {"WWW-Authenticate": challenge})


def missing_scope(scope: str) -> Problem:
    """The token is valid, but lacks this scope."""
    text = f"this requires a token with the scope {scope}"
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope", error_description="{text}", scope="{scope}"'
    return Problem(403, text, "insufficient_scope", {"WWW-Authenticate": challenge})


def too_soon(text: str, seconds: int) -> Problem:
    """Too many requests; the client may retry after *seconds*, at least one."""
    return Problem(429, text, headers={"Retry-After": str(max(1, seconds))})


def unavailable(text: str) -> Problem:
    """A temporary failure; the client may retry."""
    return Problem(503, text, headers={"Retry-After": str(BUSY_S)})


async def on_problem(_request: Request, problem: Problem) -> JSONResponse:
    """Respond to a `Problem`."""
    return problem.response()


async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
    """Respond to what the framework refuses: unknown paths and methods."""
    return Problem(error.status_code, error.detail, headers=error.headers).response()


async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Respond to a body or parameter that violates its schema; the received value is not repeated."""
    problems = [_describe(item) for item in error.errors()[:4]]
    return Problem(400, "; ".join(problems) or "the request is invalid").response()


def _describe(problems: Mapping[str, Any]) -> str:
    where = ".".join(str(step) for step in problems.get("loc", ())[1:])
    message = str(problems.get("msg", "invalid")).removeprefix("Value error, ")
    return "".join(letter for letter in f"{where[:128] or 'body'}: {message}"[:300] if letter.isprintable())


async def on_error(_request: Request, _error: Exception) -> JSONResponse:
    """Respond to a bug; it is logged with its traceback, and the caller learns nothing about it."""
    return Problem(500, "internal error; it has been logged", "server_error").response()


class StoreErrorMiddleware:
    """Turns a `StoreError` of everything inside into a 503 response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except StoreError as error:
            _log.error("%s", error)  # its message says everything; a traceback could contain secrets
            if started:
                raise
            await unavailable("the store does not respond now").response()(scope, receive, send)
