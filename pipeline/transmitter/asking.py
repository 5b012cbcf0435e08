"""Asking in a thread, in bounded time: who does not answer must not keep everybody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def in_time(call: Callable[[], T], seconds: float, late: Callable[[T], object] = lambda _: None) -> T:
    """What *call* gives or raises, in a thread of its own; raises `TimeoutError` after *seconds*.

    The thread stays behind with its question then. It keeps no process from ending, and what it is answered
    after all goes to *late*, in that thread.
    """
    asked: Future[T] = Future()
    Thread(target=_ask, args=(call, asked, late), name="asks", daemon=True).start()
    answer = asyncio.wrap_future(asked)
    try:
        await asyncio.wait({answer}, timeout=seconds)
    finally:
        given_up = asked.cancel()  # false if it was answered in the last moment
    if given_up:
        raise TimeoutError
    return await answer


def _ask(call: Callable[[], T], asked: Future[T], late: Callable[[T], object]) -> None:
    try:
        given = call()
    except BaseException as error:  # noqa: BLE001 - it is for who waits
        with suppress(InvalidStateError):
            asked.set_exception(error)
        return
    try:
        asked.set_result(given)
    except InvalidStateError:  # nobody waits any more
        with suppress(Exception):
            late(given)
