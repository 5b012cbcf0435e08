"""Runs one worker in this process until it is told to stop or cannot go on.

The exit code is the promise: 0 after a signal, with everything finished and committed; 1 after a failure.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from pipeline.kafka.app import WorkerApp
from pipeline.kafka.changelog import ChangelogStuckError, UnreadableChangelogError
from pipeline.kafka.recovery import UnevenAssignmentError
from pipeline.process_setup import search_seldom

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.001
"""How long a chunk may keep the thread that reads waiting; Python's own 5 ms are many fetches."""

PLAIN = (ChangelogStuckError, UnreadableChangelogError, UnevenAssignmentError)
"""Failures that say all there is to say: where in the code they came up helps nobody."""

START_SECONDS = 10.0
"""How long a start that is under way may take yet when the process is told to stop."""

STOP_SECONDS = 30.0
"""How long stopping may take before the process gives up on an orderly end."""


def run_worker(app: WorkerApp) -> int:
    """Run *app* until SIGTERM or SIGINT, or until it fails; return the process's exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    search_seldom()
    return asyncio.run(_run(app))


async def _run(app: WorkerApp) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, app.ended.set)
    try:
        return await run_until_ended(app)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def run_until_ended(app: WorkerApp) -> int:
    """Start *app*, wait until `app.ended` is set or Faust gives up, and stop it; return the exit code."""
    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    starting = asyncio.ensure_future(app.start())
    ended = asyncio.ensure_future(app.ended.wait())
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    waiting = {starting, ended, crashed}
    while not (ended.done() or crashed.done()) and not (starting.done() and starting.exception()):
        await asyncio.wait(waiting - {t for t in waiting if t.done()}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():  # what is stopped while it starts may begin afterwards, and nobody stops it then
        await asyncio.wait({starting, crashed}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    orderly = await _stop(app)
    await asyncio.wait(waiting, timeout=1.0)
    error = app.failure or app.crash_reason or (starting.exception() if starting.done() else None)
    for task in waiting:
        task.cancel()
    if error is not None and error is not app.failure:
        if isinstance(error, PLAIN):
            logger.critical("the worker cannot go on: %s", error)
        else:
            logger.critical("the worker cannot go on: %r", error, exc_info=error)
        app.failure = error
    return 0 if error is None and orderly else 1


async def _stop(app: WorkerApp) -> bool:
    try:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)
    except TimeoutError:
        logger.critical("stopping took more than %.0f s; what was not committed is read again", STOP_SECONDS)
        return False
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        # The consumer's thread fell, and with it the commit that was waited for.
        logger.critical("what was done last could not be committed; it is read again")
        return False
    return True
