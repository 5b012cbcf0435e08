"""What is answered when something cannot be done: one form, RFC 6749 §5.2 and RFC 6750 §3 for all of it."""

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
"""A text without NUL, which PostgreSQL cannot hold."""
HEADER: Final = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
"""RFC 9110 §5.5, without obs-text: anything else could end the header and begin another."""

Line = Annotated[str, Field(max_length=512, pattern=STORABLE)]
Uri = Annotated[str, Field(min_length=1, max_length=512, pattern=STORABLE)]
Url = Annotated[str, Field(min_length=1, max_length=2048, pattern=STORABLE)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=4096, pattern=HEADER)]
StreamId = Annotated[str, Field(max_length=256, examples=["f67e39a0a4d34d56b3aa1bc4cff0069f"])]


class RequestBody(BaseModel):
    """A body: JSON types are meant strictly, unknown members are left out (SSF 1.0 §4.2.3)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class ResponseBody(BaseModel):
    """A body of ours: members without a value are left out of it."""

    model_config = ConfigDict(frozen=True)


REALM: Final = "ssf"
NO_STORE: Final = {"Cache-Control": "no-store"}
BUSY_S: Final = 1
"""Seconds after which a request that met a busy store may be made again."""

_log = logging.getLogger(__name__)

_NAMES: Final = {
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
    """Why a request was not done."""

    error: str = Field(description="A code for programs.", examples=["invalid_request"])
    error_description: str = Field(description="A sentence for people.", examples=["stream_id: a value is missing"])


class Problem(Exception):
    """A request cannot be done: an HTTP status, a code for programs and a sentence for people."""

    def __init__(
        self, status: int, text: str, error: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.error = error or _NAMES.get(status, "error")
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        by_key = {"error": self.error, "error_description": self.text}
        return JSONResponse(by_key, self.status, {**NO_STORE, **self.headers})


def not_found(stream_id: str) -> Problem:
    """A stream that is not there, or is somebody else's: the answer is the same."""
    shown = "".join(letter for letter in stream_id[:64] if letter.isascii() and letter.isprintable())
    return Problem(404, f"there is no stream {shown!r} of yours")


def no_token() -> Problem:
    """RFC 6750 §3.1: who shows no token at all is told no error code in the challenge."""
    headers = {"WWW-Authenticate": f'Bearer realm="{REALM}"'}
    return Problem(401, "show an access token in the header Authorization: Bearer", "invalid_request", headers)


def bad_token(text: str) -> Problem:
    """The token is not one, not from here, expired or revoked."""
    challenge = f'Bearer realm="{REALM}", error="invalid_token", error_description="{text}"'
    return Problem(401, text, "invalid_token", {"WWW-Authenticate": challenge})


def missing_scope(scope: str) -> Problem:
    """The token is good, but not for this."""
    text = f"this needs a token with the scope {scope}"
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope", error_description="{text}", scope="{scope}"'
    return Problem(403, text, "insufficient_scope", {"WWW-Authenticate": challenge})


def too_soon(text: str, seconds: int) -> Problem:
    """To be asked again after *seconds*, at least one."""
    return Problem(429, text, headers={"Retry-After": str(max(1, seconds))})


def unavailable(text: str) -> Problem:
    """It may work in a moment."""
    return Problem(503, text, headers={"Retry-After": str(BUSY_S)})


async def on_problem(_request: Request, problem: Problem) -> JSONResponse:
    """Answer a `Problem`."""
    return problem.response()


async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
    """Answer what the framework refuses: unknown paths and methods."""
    return Problem(error.status_code, error.detail, headers=error.headers).response()


async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer a body or a parameter that is not as the document says; what was sent is not repeated."""
    found = [_place(item) for item in error.errors()[:4]]
    return Problem(400, "; ".join(found) or "the request is not as it should be").response()


def _place(found: Mapping[str, Any]) -> str:
    where = ".".join(str(step) for step in found.get("loc", ())[1:])
    message = str(found.get("msg", "is not right")).removeprefix("Value error, ")
    return "".join(letter for letter in f"{where[:128] or 'body'}: {message}"[:300] if letter.isprintable())


async def on_error(_request: Request, _error: Exception) -> JSONResponse:
    """Answer a bug; it is logged with its trace, its caller learns nothing of it."""
    return Problem(500, "something is wrong here; it has been logged", "server_error").response()


class StoreErrorMiddleware:
    """Turns the store's troubles into 503, for everything inside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except StoreError as error:
            _log.error("%s", error)  # its sentence says all; a trace could hold values
            if begun:
                raise
            await unavailable("the store does not answer just now").response()(scope, receive, send)
