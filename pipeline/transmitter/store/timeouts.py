"""Connections to PostgreSQL on which nothing waits for ever: for the network, the server or another writer.

A machine that vanished says nothing. By itself TCP sends again for a quarter of an hour before it believes
that, and asks a silent connection first after two hours (tcp(7): `tcp_retries2`, `tcp_keepalive_time`); a
server or a pooler that hangs while its machine goes on is never noticed.
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
"""Seconds within which the server lets us in."""
IDLE_S, PROBE_S, PROBES = 10, 5, 3
"""A silent connection is probed after so many seconds, so far apart, so often."""
LOST_S: Final = IDLE_S + PROBE_S * PROBES
"""Seconds after which, on either side, a machine that acknowledges nothing is taken for gone."""
ANSWER_S: Final = 60.0
"""Seconds of silence after which a statement is given up: longer than any of ours waits or works, but for
this no machine must be gone."""
IDLE_TRANSACTION_S: Final = 60.0
"""Seconds after which the server ends a transaction in which nothing is asked: a process that was stopped
must not keep its locks."""


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server says nothing for *response_timeout_s* to what it was asked."""

    response_timeout_s: float = ANSWER_S

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """As psycopg waits: everything that is asked on an open connection comes through here."""
        return super().wait(self._patiently(gen), *args, **kwargs)

    def _patiently(self, gen: PQGen[RV]) -> Generator[Any, Any, RV]:
        deadline = monotonic() + self.response_timeout_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    deadline = monotonic() + self.response_timeout_s
                elif monotonic() >= deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not answered for {self.response_timeout_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            value: RV = end.value
            return value


def arguments(at: URL) -> dict[str, Any]:
    """Arguments of libpq for a connection to *at*; what the address says itself stands.

    libpq: "Parameter Key Words", `connect_timeout` to `tcp_user_timeout`.
    """
    bounds = {
        "connect_timeout": CONNECT_S,
        "keepalives_idle": IDLE_S,
        "keepalives_interval": PROBE_S,
        "keepalives_count": PROBES,
        "tcp_user_timeout": LOST_S * 1000,  # ms
    }
    return {name: value for name, value in bounds.items() if name not in at.query}


def set_up(engine: Engine, busy_s: float) -> None:
    """Bound every connection that *engine* makes from now on; a writer waits for another at most *busy_s*."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", partial(_agree, busy_s))


def _connect(_dialect: object, _record: object, given: list[Any], named: dict[str, Any]) -> TimeoutConnection:
    return TimeoutConnection.connect(*given, **named)


def _agree(busy_s: float, connection: TimeoutConnection, _record: object) -> None:
    """Have the server keep its side: commits durable, no lock waited for or kept for ever.

    Each has a value in which it is changed, `None` for any: what an operator set for this role stays.
    """
    wanted = (
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
        [list(column) for column in zip(*wanted, strict=True)],
    )
    connection.commit()
