"""The transmitter's HTTP side for tests, called in this process: a store, a clock that is set, answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.types import ASGIApp

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api.app import create_app
from pipeline.transmitter.delivery.http_client import check_url
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import PUSH
from pipeline.transmitter.services import AckNotSentError, Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.database import open_store
from pipeline.transmitter.store.receivers import MANAGE, READ
from pipeline.transmitter.store.signing_keys import open_signer
from schemas.control import RevocationAck
from tests.support.stores import NOW, SEALER, new_store

ISSUER: Final = "https://risk.example.com/t1"
HOOK: Final = "https://idp.example.com/events"
PUSHED: Final = {"method": PUSH, "endpoint_url": HOOK, "authorization_header": "Bearer of-theirs"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


@dataclass
class Api:
    """The application and what it stands on; *acks* is what enforcers said, *now* the time in ms.

    It is asked from *address*.
    """

    services: Services
    app: ASGIApp = field(init=False)
    now: int = NOW
    acks: list[RevocationAck] = field(default_factory=list)
    kafka: bool = True
    stem: str = "/t1"
    address: str = "192.0.2.7"
    ids: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        also: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Call *path* below the issuer's; *body* as JSON unless it is bytes."""
        return asyncio.run(self.call(method, f"{self.stem}{path}", body, token=token, headers=headers, also=also))

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        also: Sequence[tuple[str, str]] = (),
        gone: asyncio.Event | None = None,
    ) -> Answer:
        """Call any *path*, as a server for ASGI does; who asked hangs up when *gone* is set.

        Headers in *also* come beside those of the same name.
        """
        path, _, query = path.partition("?")
        given = {"content-type": "application/json", **(headers or {})}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*given.items(), *also)],
            "client": (self.address, 4711),
            "server": ("risk.example.com", 443),
        }
        return await _answer(self.app, scope, raw, gone or asyncio.Event())

    def token(self, *scopes: str, name: str = "idp") -> str:
        """Return a token of the receiver *name*, which is made if there is none."""
        with self.services.store.begin() as conn:
            if receivers.get(conn, name) is None:
                receivers.add(conn, name, f"https://{name}.example.com", [READ, MANAGE], self.now)
            return receivers.issue(conn, name, scopes or [MANAGE], self.now, 3_600_000)

    def secret(self, name: str = "idp", scopes: tuple[str, ...] = (READ, MANAGE)) -> str:
        """Make the receiver *name* and return its secret."""
        with self.services.store.begin() as conn:
            return receivers.add(conn, name, f"https://{name}.example.com", scopes, self.now)

    def stream(self, token: str, **output: Any) -> Any:
        """Make a stream; return it as it was told."""
        made = self.ask("POST", "/ssf/stream", output, token=token)
        assert made.status == 201, made.body
        return made.json

    def form(self, path: str, *, basic: tuple[str, str] | None = None, **members: str) -> Answer:
        """Post a form, as OAuth wants it."""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if basic is not None:
            headers["authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
        return self.ask("POST", path, urlencode(members).encode(), headers=headers)

    async def acked(self, ack: RevocationAck) -> None:
        """Take an acknowledgement as Kafka would, if there is any."""
        if not self.kafka:
            raise AckNotSentError("no broker")
        self.acks.append(ack)


def new_api(folder: Path, issuer: str = ISSUER, database: str | None = None, **settings: Any) -> Api:
    """Return the application over a new store: *database*, or SQLite in *folder*."""
    transmitter_settings = TransmitterSettings(
        issuer=issuer, **{"alg": "ES256", **settings}
    )  # such keys are made at once
    store = new_store(folder) if database is None else open_store(database, SEALER)
    holder: list[Api] = []

    async def acks(ack: RevocationAck) -> None:
        await holder[0].acked(ack)

    services = Services(
        settings=transmitter_settings,
        store=store,
        signer=open_signer(store, transmitter_settings.alg, transmitter_settings.rsa_bits, NOW),
        notifier=Notifier(),
        clock=lambda: holder[0].now,
        acks=acks,
        guard=lambda url: check_url(url, transmitter_settings),
    )
    api = Api(services, stem="/t1" if issuer == ISSUER else "")
    holder.append(api)
    api.app = create_app(services)
    return api


async def _answer(app: ASGIApp, scope: dict[str, Any], raw: bytes, gone: asyncio.Event) -> Answer:
    waiting = [{"type": "http.request", "body": raw, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
