"""A receiver of pushes, written from RFC 8935 alone: it answers as it is told, also in ways it must not."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Reply:
    """An answer; *way* `hang` gives none, `cut` breaks off, `garbage` is no HTTP, `endless` never ends."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    way: str = "answer"


ACCEPTED = Reply()
HANG = Reply(way="hang")
CUT = Reply(way="cut")
GARBAGE = Reply(way="garbage")
ENDLESS = Reply(status=400, way="endless")


def error(code: str, description: str = "told so") -> Reply:
    """The answer of RFC 8935 §2.3."""
    body = json.dumps({"err": code, "description": description}).encode()
    return Reply(400, {"Content-Type": "application/json", "Content-Language": "en"}, body)


@dataclass(frozen=True)
class Push:
    """A request that came in, and what was answered."""

    path: str
    headers: Mapping[str, str]
    body: str
    claims: dict[str, Any]
    reply: Reply


def claims_in(jwt: str) -> dict[str, Any]:
    """Read a token's claims without asking who signed it."""
    head, body, signature = jwt.split(".")
    assert signature
    assert json.loads(_decoded(head))["typ"] == "secevent+jwt"
    claims: dict[str, Any] = json.loads(_decoded(body))
    return claims


class Receiver:
    """Listens on loopback while the block lasts; *answer* says what comes of a token's claims."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Reply] = lambda _: ACCEPTED,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.pushes: list[Push] = []
        self.under_way = 0
        self.most_under_way = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/events"

    @property
    def accepted(self) -> list[Push]:
        """What was answered with 202, in that order."""
        return [push for push in self.pushes if push.reply is ACCEPTED]

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._loop.run_forever, name="receiver")
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def release(self) -> None:
        """End every answer that hangs."""
        self._loop.call_soon_threadsafe(self._over.set)

    async def _open(self) -> int:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _close(self) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answered(request)
        finally:
            self.under_way -= 1

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode("ascii")
        claims = claims_in(body)
        reply = self.answer(claims)
        self.pushes.append(Push(request.path, dict(request.headers), body, claims, reply))
        if reply.way == "hang":
            await self._over.wait()
        if reply.way in {"cut", "garbage"}:
            assert request.transport is not None
            if reply.way == "garbage":
                request.transport.write(b"220 mail.example.org ESMTP\r\n")
                request.transport.close()
            else:
                request.transport.abort()
        if reply.way == "endless":
            return await self._flood(request, reply)
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def _flood(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status)
        await response.prepare(request)
        while not self._over.is_set():
            await response.write(b"x" * 65_536)
        return response


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's TLS for 127.0.0.1 with a certificate that no authority vouches for, left as `cert.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(cert.public_bytes(encoding))
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
