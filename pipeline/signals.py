"""Being told to end before there is anything that could listen."""

from __future__ import annotations

import signal


def end_if_told() -> None:
    """Have SIGTERM end this process in order from now on, though it cannot listen yet: nothing has begun."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
