"""Leader loop: of all transmitters that share a store, the leader reads Kafka, delivers and does housekeeping.

The others stand by and check every second whether the leadership is free. All of them serve HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import Final, Protocol, TypeVar

from pipeline.kafka.topics import BrokerUnreachableError
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.store.leader_election import Leadership, lead

T = TypeVar("T")


async def call_with_timeout(call: Callable[[], T], seconds: float, late: Callable[[T], object] = lambda _: None) -> T:
    """Return what *call* returns or raises, run in a thread of its own; raises `TimeoutError` after *seconds*.

    A thread that times out goes on by itself. It is a daemon, so it does not keep the process alive, and its late
    result is passed to *late* in that thread.
    """
    future: Future[T] = Future()
    Thread(target=_call_in_thread, args=(call, future, late), name="bounded call", daemon=True).start()
    answer = asyncio.wrap_future(future)
    try:
        await asyncio.wait({answer}, timeout=seconds)
    finally:
        given_up = future.cancel()  # false if the result came at the last moment
    if given_up:
        raise TimeoutError
    return await answer


def _call_in_thread(call: Callable[[], T], future: Future[T], late: Callable[[T], object]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the waiting coroutine raises it
        with suppress(InvalidStateError):
            future.set_exception(error)
        return
    try:
        future.set_result(result)
    except InvalidStateError:  # nobody waits any more
        with suppress(Exception):
            late(result)


logger = logging.getLogger(__name__)

CHECK_S: Final = 1.0
"""Seconds between two checks of who leads."""
STORE_TIMEOUT_S: Final = 5.0
"""Seconds within which the store must say who leads. A process that cannot ask does not lead: another may by now."""
RETRY_S: Final = 5.0
"""Seconds before the work starts again after the store or the brokers failed."""
STOP_MARGIN_S: Final = 10.0
"""Seconds, beyond the longest push, that the tasks have to end."""


class LeaderTask(Protocol):
    """A task of the leader: runs until it is stopped, and then completes what it has begun."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class RestartingReader:
    """Runs *reader*, which reads Kafka, and restarts it after the brokers failed; the other tasks are not affected."""

    def __init__(self, reader: LeaderTask) -> None:
        self._part = reader
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return as soon as *reader* has ended."""
        self._stop.set()
        self._part.stop()

    async def run(self) -> None:
        """Run *reader* until it is stopped; raises every error of it except `BrokerUnreachableError`."""
        while not self._stop.is_set():
            try:
                await self._part.run()
            except BrokerUnreachableError as error:
                logger.error("reading Kafka is suspended: %s", error)  # noqa: TRY400 - a sentence
                await _wait_for_stop(RETRY_S, self._stop)
            else:
                return


class LeaderLoop:
    """Runs the leader's tasks while this process leads; stands by while it does not, until `stop` is called.

    *make_tasks* creates the tasks each time this process becomes the leader. They have *stop_timeout_s* (and
    `STOP_MARGIN_S`) to end. *on_leadership* is called with whether this process leads.
    """

    def __init__(
        self,
        store: Store,
        make_tasks: Callable[[], Sequence[LeaderTask]],
        stop_timeout_s: float,
        on_leadership: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._make_tasks = make_tasks
        self._stop_timeout_s = stop_timeout_s + STOP_MARGIN_S
        self._on_leadership = on_leadership
        self.stopped_cleanly = True
        """Whether all tasks ended by themselves when they were last stopped."""
        self._stop = asyncio.Event()
        self._last_reported: bool | None = None

    def stop(self) -> None:
        """Make `run` return when what is in progress has ended, in bounded time."""
        self._stop.set()

    async def run(self) -> None:
        """Lead and work, or stand by; raises the error of a task that failed, unless the store did not respond."""
        while not self._stop.is_set():
            pause_s = CHECK_S
            try:
                async with _leadership(self._store) as leads:
                    self._report(leads=bool(leads))
                    if leads:
                        await self._work(leads)
            except StoreError as error:
                logger.error("the transmitter retries in %.0f s: %s", RETRY_S, error)  # noqa: TRY400 - a sentence
                pause_s = RETRY_S
            finally:
                self._on_leadership(False)  # noqa: FBT003 - a callback has no names
            await _wait_for_stop(pause_s, self._stop)

    def _report(self, *, leads: bool) -> None:
        self._on_leadership(leads)
        if leads is not self._last_reported:
            logger.info("this transmitter leads" if leads else "standing by: another transmitter leads")
            self._last_reported = leads

    async def _work(self, leads: Leadership) -> None:
        leader_tasks = self._make_tasks()
        tasks = [asyncio.create_task(reader.run(), name=type(reader).__name__) for reader in leader_tasks]
        try:
            while not self._stop.is_set() and not any(task.done() for task in tasks):
                if not await _still_leads(leads):
                    logger.warning("the leadership is lost; another transmitter may lead now")
                    break
                await _wait_for_stop(CHECK_S, self._stop, *tasks)
        finally:
            await self._end(leader_tasks, tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _end(self, leader_tasks: Sequence[LeaderTask], tasks: Sequence[asyncio.Task[None]]) -> None:
        for reader in leader_tasks:
            reader.stop()
        _, late = await asyncio.wait(tasks, timeout=self._stop_timeout_s)
        self.stopped_cleanly = not late
        for task in late:
            logger.error(
                "%s did not end in %.0f s; its unfinished work is repeated", task.get_name(), self._stop_timeout_s
            )
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _wait_for_stop(seconds: float, stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Return after *seconds*, or as soon as *stop* is set or one of *tasks* is done."""
    stop_task = asyncio.create_task(stop.wait())
    await asyncio.wait({stop_task, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stop_task.cancel()


@asynccontextmanager
async def _leadership(store: Store) -> AsyncIterator[Leadership]:
    """`leader_election.lead`, where each call to the database takes at most `STORE_TIMEOUT_S`.

    A leadership that is granted later is given back at once. One that cannot be given back expires by itself, like
    that of a machine that died.
    """
    block = lead(store)
    try:
        leads = await call_with_timeout(
            block.__enter__, STORE_TIMEOUT_S, late=lambda _: block.__exit__(None, None, None)
        )
    except TimeoutError:
        raise StoreError(f"{store.name}: did not answer within {STORE_TIMEOUT_S:g} s who leads") from None
    try:
        yield leads
    finally:
        try:
            await call_with_timeout(lambda: block.__exit__(None, None, None), STORE_TIMEOUT_S)
        except TimeoutError:
            logger.warning("%s: the leadership could not be given back within %g s", store.name, STORE_TIMEOUT_S)


async def _still_leads(leads: Leadership) -> bool:
    """Whether this process still leads, if the store confirms it in time."""
    try:
        return await call_with_timeout(leads.is_held, STORE_TIMEOUT_S)
    except TimeoutError:
        logger.warning("the store did not answer within %g s who leads", STORE_TIMEOUT_S)
        return False
