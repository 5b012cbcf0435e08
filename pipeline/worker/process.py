"""Main loop of a worker process: runs one worker until a signal or a failure ends it.

The exit code is a promise: 0 after a signal, with everything finished and committed; 1 after a failure.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from pipeline.kafka.app import WorkerApp
from pipeline.kafka.changelog import ChangelogStuckError, UnreadableChangelogError
from pipeline.kafka.recovery import UnevenAssignmentError
from pipeline.process_setup import tune_garbage_collection

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.001
"""Thread switch interval: how long a chunk may keep the consumer thread waiting. Python's 5 ms are many fetches."""

PLAIN = (ChangelogStuckError, UnreadableChangelogError, UnevenAssignmentError)
"""Failures whose message says everything: a traceback would help nobody."""

START_SECONDS = 10.0
"""How long a start that has begun may go on after the process received a signal."""

STOP_SECONDS = 30.0
"""How long stopping may take before the process gives up an orderly end."""


def run_worker(app: WorkerApp) -> int:
    """Run *app* until SIGTERM or SIGINT, or until it fails; return the process's exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    tune_garbage_collection()
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
    if ended.done():  # a service stopped during its start may still start afterwards, and then nobody stops it
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
        logger.critical("stopping took more than %.0f s; what was not committed will be read again", STOP_SECONDS)
        return False
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        # The consumer's thread failed, and with it the commit that was awaited.
        logger.critical("the last offsets could not be committed; their records will be read again")
        return False
    return True
