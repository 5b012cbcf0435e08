"""Schemathesis reads the document of operations and asks everything it can think of; nothing breaks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from starlette.types import ASGIApp

from tests.support.postgres import Postgres
from tests.support.transmitter_api import Api, new_api
from tests.support.waiting import until

pytestmark = pytest.mark.slow

EXAMPLES = 20
"""Of each operation: the same ones each time, in seconds; the document and what answers it are small."""

WITHOUT_INPUT = ("/.well-known/ssf-configuration", "/jwks.json", "/health")
EXPECTED = {GenerationMode.POSITIVE: {200, 201, 204, 404}, GenerationMode.NEGATIVE: {400}}
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Any]]:
    """The document of an application that a receiver with one stream talks to, on either database."""
    database = None
    if request.param == "postgres":
        running: Postgres = request.getfixturevalue("server")
        database = running.database()
    api = new_api(
        tmp_path_factory.mktemp("api"),
        issuer="https://risk.example.com",
        database=database,
        long_poll_s=0.05,
        requests_per_minute=1_000_000,
        min_verification_s=0,
        max_streams=10_000,
    )
    api.ids = {"token": api.token(), "secret": api.secret("client")}
    api.ids["stream"] = api.stream(api.ids["token"])["stream_id"]
    with _running(api.app) as url:
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        document.config.update(base_url=url)
        yield api, document
    api.services.store.close()


@contextmanager
def _running(app: ASGIApp) -> Iterator[str]:
    """Serve *app* on a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until("a server that answers", lambda: server.started, bool)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_makes_a_mistake_of_ours_or_an_answer_that_is_not_described(
    asked: tuple[Api, Any], mode: GenerationMode
) -> None:
    api, document = asked
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) == 17
    if mode is GenerationMode.NEGATIVE:
        operations = [operation for operation in operations if operation.path not in WITHOUT_INPUT]

    answered = {operation.label: _fuzz(api, operation, mode) for operation in operations}

    assert {status for statuses in answered.values() for status in statuses} >= EXPECTED[mode]


def _fuzz(api: Api, operation: Any, mode: GenerationMode) -> set[int]:
    """Ask *operation* what the document allows, or what it does not; return the statuses of the answers."""
    statuses: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        if "security" in operation.definition.raw and not operation.path.startswith("/oauth"):
            case.headers["Authorization"] = f"Bearer {api.ids['token']}"
            _aim(api, case)
        answer = case.call()
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    return statuses


def _aim(api: Api, case: Any) -> None:
    """Let what names a stream name one that there is: what is drawn would never hit it."""
    stream = api.ids["stream"]
    if case.method == "DELETE":
        stream = api.stream(api.ids["token"])["stream_id"]
    for members in (case.query, case.path_parameters, case.body):
        if isinstance(members, dict) and isinstance(members.get("stream_id"), str):
            members["stream_id"] = stream
