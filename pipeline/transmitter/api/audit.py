"""Audit middleware: logs every management call before its response: caller, address, action, status."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter.api.auth import caller_key, client_address
from pipeline.transmitter.api.paths import AUDITED, POLL, Addresses
from pipeline.transmitter.api.rate_limits import AuditWriter
from pipeline.transmitter.services import Services
from pipeline.transmitter.store.audit import AuditEntry


class AuditMiddleware:
    """Writes calls to the audit log of the store; of polls only the refused ones, which would otherwise flood it.

    Every other call of a known receiver is logged. Refused calls of strangers, and of receivers that exceed
    their rate limit, are logged within bounds, because they cost their senders nothing.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self.addresses = Addresses(services.settings.issuer)
        self.audit_writer = AuditWriter(services.store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write(scope, message["status"])
            await send(message)

        await self.app(scope, receive, send_audited)

    async def _write(self, scope: Scope, status: int) -> None:
        path = self.addresses.below(scope["path"]) or ""
        is_poll = path.startswith(f"{POLL}/")
        if not (path in AUDITED or (is_poll and status >= 400)):
            return
        state = scope.get("state", {})
        caller = state.get("caller")
        entry = AuditEntry(
            at=self.services.clock(),
            action=f"{scope['method']} {POLL if is_poll else path}",
            status=status,
            receiver_id=state.get("receiver_id") if caller is None else caller.receiver_id,
            address=client_address(scope),
            stream_id=path[len(POLL) + 1 :] if is_poll else state.get("stream_id"),
        )
        if caller is not None and status != 429:
            await run_in_threadpool(self.audit_writer.write, entry)
        elif caller is not None:
            name = f"receiver {caller.receiver_id}"
            await run_in_threadpool(self.audit_writer.write_bounded, entry, name, caller.receiver_id)
        else:
            await run_in_threadpool(self.audit_writer.write_bounded, entry, f"address {caller_key(scope)}")
