"""Timeouts of PostgreSQL connections, so that nothing waits forever for the network, the server or another writer.

A machine that vanished sends nothing. By default TCP retransmits for a quarter of an hour before it gives up,
and probes a silent connection only after two hours (tcp(7): `tcp_retries2`, `tcp_keepalive_time`); a server or
a pooler that hangs on a running machine is never noticed.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import URL, Engine, event

if TYPE_CHECKING:
    from psycopg.abc import RV, PQGen

CONNECT_S: Final = 10
"""Seconds within which the server must accept a connection."""
IDLE_S, PROBE_S, PROBES = 10, 5, 3
"""A silent connection is probed after `IDLE_S` seconds, every `PROBE_S` seconds, `PROBES` times."""
LOST_S: Final = IDLE_S + PROBE_S * PROBES
"""Seconds after which either side considers a machine that acknowledges nothing as gone."""
RESPONSE_TIMEOUT_S: Final = 60.0
"""Seconds of silence after which a statement fails: longer than any of ours takes. This also notices a server that
hangs.
"""
IDLE_TRANSACTION_S: Final = 60.0
"""Seconds after which the server ends an idle transaction: a stopped process must not keep its locks."""


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server is silent for *response_timeout_s* while a query runs."""

    response_timeout_s: float = RESPONSE_TIMEOUT_S

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait as psycopg does; every query on an open connection calls this."""
        return super().wait(self._with_deadline(gen), *args, **kwargs)

    def _with_deadline(self, gen: PQGen[RV]) -> Generator[Any, Any, RV]:
        deadline = monotonic() + self.response_timeout_s
        try:
            settings = next(gen)
            while True:
                ready = yield settings
                if ready:
                    deadline = monotonic() + self.response_timeout_s
                elif monotonic() >= deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not responded for {self.response_timeout_s:g} s")
                settings = gen.send(ready)
        except StopIteration as end:
            value: RV = end.value
            return value


def arguments(url: URL) -> dict[str, Any]:
    """Arguments of libpq for a connection to *url*; those in the URL take precedence.

    libpq: "Parameter Key Words", `connect_timeout` to `tcp_user_timeout`.
    """
    arguments_by_name = {
        "connect_timeout": CONNECT_S,
        "keepalives_idle": IDLE_S,
        "keepalives_interval": PROBE_S,
        "keepalives_count": PROBES,
        "tcp_user_timeout": LOST_S * 1000,  # ms
    }
    return {name: value for name, value in arguments_by_name.items() if name not in url.query}


def set_up(engine: Engine, busy_s: float) -> None:
    """Set timeouts on every connection of *engine* from now on; a writer waits for another at most *busy_s*."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", partial(_set_server_timeouts, busy_s))


def _connect(_dialect: object, _record: object, args: list[Any], kwargs: dict[str, Any]) -> TimeoutConnection:
    return TimeoutConnection.connect(*args, **kwargs)


def _set_server_timeouts(busy_s: float, connection: TimeoutConnection, _record: object) -> None:
    """Set the server's side: durable commits, bounded lock waits, bounded idle transactions.

    Each parameter is set only if it has the given value before, `None` for any: what an operator set for this
    role stays.
    """
    settings = (
        ("synchronous_commit", "on", "off"),
        ("lock_timeout", f"{busy_s * 1000:.0f}ms", "0"),
        ("idle_in_transaction_session_timeout", f"{IDLE_TRANSACTION_S * 1000:.0f}ms", "0"),
        ("tcp_keepalives_idle", str(IDLE_S), None),  # over a Unix socket these are ignored
        ("tcp_keepalives_interval", str(PROBE_S), None),
        ("tcp_keepalives_count", str(PROBES), None),
        ("tcp_user_timeout", f"{LOST_S}s", None),
    )
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[], %s::text[]) "
        "AS wanted (name, value, changed) WHERE changed IS NULL OR current_setting(name) = changed",
        [list(column) for column in zip(*settings, strict=True)],
    )
    connection.commit()
