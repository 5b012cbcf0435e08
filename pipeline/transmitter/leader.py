"""Which of the transmitters on one store works: the one that leads. The others stand by and take over.

What leads reads Kafka, delivers and keeps house. What stands by looks each second whether the lead is free.
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


logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Seconds between two looks at who leads."""
ANSWER_S: Final = 5.0
"""Seconds the store may take to say who leads. Who cannot ask it does not lead: another may by now."""
REST_S: Final = 5.0
"""Seconds after which what failed for want of the store or the brokers begins again."""
MARGIN_S: Final = 10.0
"""Seconds beyond the longest push that parts may take to end."""


class LeaderTask(Protocol):
    """A part of the work: runs until it is stopped, and then ends what it has begun."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class RestartingReader:
    """Reads Kafka by *part*, which begins anew while the brokers fail it; all else goes on meanwhile."""

    def __init__(self, part: LeaderTask) -> None:
        self._part = part
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Have `run` return when *part* has ended."""
        self._stop.set()
        self._part.stop()

    async def run(self) -> None:
        """Run *part* until it is stopped; raises what makes it fail otherwise."""
        while not self._stop.is_set():
            try:
                await self._part.run()
            except BrokerUnreachableError as error:
                logger.error("what is decided is read later: %s", error)  # noqa: TRY400 - a sentence
                await _wait_for_stop(REST_S, self._stop)
            else:
                return


class LeaderLoop:
    """Works while it leads and stands by while it does not, until `stop` is called.

    *make* makes the parts anew each time that the work begins, which *patience_s* gives time to end; *shown*
    is told whether this process leads.
    """

    def __init__(
        self,
        store: Store,
        make: Callable[[], Sequence[LeaderTask]],
        patience_s: float,
        shown: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._make = make
        self._patience_s = patience_s + MARGIN_S
        self._shown = shown
        self.stopped_cleanly = True
        """Whether all parts ended by themselves when they were last told to."""
        self._stop = asyncio.Event()
        self._said: bool | None = None

    def stop(self) -> None:
        """Have `run` return when what is under way has ended, in bounded time."""
        self._stop.set()

    async def run(self) -> None:
        """Lead and work, or stand by; raises what made a part fail, but for a store that does not answer."""
        while not self._stop.is_set():
            rest = LOOK_S
            try:
                async with _leadership(self._store) as leads:
                    self._say(leads=bool(leads))
                    if leads:
                        await self._work(leads)
            except StoreError as error:
                logger.error("the transmitter rests for %.0f s: %s", REST_S, error)  # noqa: TRY400 - a sentence
                rest = REST_S
            finally:
                self._shown(False)  # noqa: FBT003 - a callback has no names
            await _wait_for_stop(rest, self._stop)

    def _say(self, *, leads: bool) -> None:
        self._shown(leads)
        if leads is not self._said:
            logger.info("leads, and works" if leads else "stands by: another transmitter leads")
            self._said = leads

    async def _work(self, leads: Leadership) -> None:
        parts = self._make()
        tasks = [asyncio.create_task(part.run(), name=type(part).__name__) for part in parts]
        try:
            while not self._stop.is_set() and not any(task.done() for task in tasks):
                if not await _still_leads(leads):
                    logger.warning("the lead is lost; another transmitter may have it now")
                    break
                await _wait_for_stop(LOOK_S, self._stop, *tasks)
        finally:
            await self._end(parts, tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _end(self, parts: Sequence[LeaderTask], tasks: Sequence[asyncio.Task[None]]) -> None:
        for part in parts:
            part.stop()
        _, late = await asyncio.wait(tasks, timeout=self._patience_s)
        self.stopped_cleanly = not late
        for task in late:
            logger.error("%s did not end in %.0f s; what it had begun is done again", task.get_name(), self._patience_s)
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _wait_for_stop(seconds: float, stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Return after *seconds*, or as soon as *stop* is set or one of *tasks* is over."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


@asynccontextmanager
async def _leadership(store: Store) -> AsyncIterator[Leadership]:
    """`leading.lead`, which asks a database: each time for `ANSWER_S` at most.

    A lead that is given later than that is given back at once. One that cannot be given back ends by itself,
    as that of a machine which died does.
    """
    block = lead(store)
    try:
        leads = await call_with_timeout(block.__enter__, ANSWER_S, late=lambda _: block.__exit__(None, None, None))
    except TimeoutError:
        raise StoreError(f"{store.name}: has not said in {ANSWER_S:g} s who leads") from None
    try:
        yield leads
    finally:
        try:
            await call_with_timeout(lambda: block.__exit__(None, None, None), ANSWER_S)
        except TimeoutError:
            logger.warning("%s: has not taken back the lead in %g s", store.name, ANSWER_S)


async def _still_leads(leads: Leadership) -> bool:
    """Whether the lead is still this process's, as far as the store says so in time."""
    try:
        return await call_with_timeout(leads.held, ANSWER_S)
    except TimeoutError:
        logger.warning("the store has not said in %g s who leads", ANSWER_S)
        return False
