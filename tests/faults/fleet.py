"""Workers of one group as real processes, each started, hurt and watched by a test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

from tests.faults.known import PARTITIONS

ROOT = Path(__file__).parent.parent.parent
SESSION_TIMEOUT_S = 6.0
"""How long until a worker that says nothing counts as dead; the shortest that the settings allow."""
END_SECONDS = 40.0


class Worker:
    """One process of `session-risk worker`; *log* is what it says."""

    def __init__(self, settings: dict[str, str], log: Path, failpoint: str = "") -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SESSION_RISK_")}
        environment = {**own, **settings, "PYTHONPATH": str(ROOT), "FAILPOINT": failpoint}
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "worker"], env=environment, stdout=file, stderr=file
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] == "T"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    def stop(self) -> None:
        """Tell it to end in order."""
        self.process.terminate()

    def freeze(self) -> None:
        """Have it stand still, all its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on where it stood still."""
        self.process.send_signal(signal.SIGCONT)

    async def frozen(self, seconds: float = END_SECONDS) -> None:
        """Return once it stands still; fails the test after *seconds*."""
        deadline = monotonic() + seconds
        while not self.is_frozen:
            assert monotonic() < deadline, f"it moves after {seconds:.0f} s; what it said:\n{self.output()}"
            await asyncio.sleep(0.05)

    async def ended(self, seconds: float = END_SECONDS) -> int:
        """Return its exit code, once it has ended; fails the test after *seconds*."""
        deadline = monotonic() + seconds
        while self.is_running:
            assert monotonic() < deadline, f"it runs on after {seconds:.0f} s; what it said:\n{self.output()}"
            await asyncio.sleep(0.05)
        return int(self.process.returncode)

    def output(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]


class Fleet:
    """The workers of the group *app_id* at *broker*; what they write themselves goes into *folder*."""

    def __init__(self, broker: str, app_id: str, policy: Path, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Worker] = []
        self.restarts = 0
        self._settings = {
            "SESSION_RISK_BROKER": broker,
            "SESSION_RISK_APP_ID": app_id,
            "SESSION_RISK_PARTITIONS": str(PARTITIONS),
            "SESSION_RISK_POLICY_FILE": str(policy),
            "SESSION_RISK_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "SESSION_RISK_METRICS_PORT": "0",
        }

    def start(self, failpoint: str = "") -> Worker:
        """Start a worker; with *failpoint* it dies there."""
        number = len(self.workers)
        settings = {**self._settings, "SESSION_RISK_DATA_DIR": str(self.folder / f"data-{number}")}
        worker = Worker(settings, self.folder / f"worker-{number}.log", failpoint)
        self.workers.append(worker)
        return worker

    async def worker(self, number: int, seconds: float = END_SECONDS) -> Worker:
        """Return the worker started as *number*, from 0, once it is; fails the test after *seconds*."""
        deadline = monotonic() + seconds
        while len(self.workers) <= number:
            assert monotonic() < deadline, f"worker {number} is not started after {seconds:.0f} s"
            await asyncio.sleep(0.05)
        return self.workers[number]

    @property
    def running(self) -> list[Worker]:
        """The workers that have not ended."""
        return [worker for worker in self.workers if worker.is_running]

    async def restart_what_fails(self) -> None:
        """Be the supervisor, until cancelled: a worker that ended with a failure is followed by another."""
        met: set[int] = set()
        while True:
            await asyncio.sleep(0.5)
            for worker in list(self.workers):
                if not worker.is_running and worker.process.returncode and id(worker) not in met:
                    met.add(id(worker))
                    self.restarts += 1
                    self.start()

    async def end(self) -> list[int]:
        """Tell all that run to end in order; return their exit codes."""
        workers = self.running
        for worker in workers:
            worker.stop()
        return [await worker.ended() for worker in workers]

    def end_at_once(self) -> None:
        """Leave none behind."""
        for worker in self.running:
            worker.thaw()
            worker.kill()
            worker.process.wait(10)
