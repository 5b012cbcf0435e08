"""The supervisor keeps workers running, gives up on those that never do, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.worker.supervisor import Patience, supervise

ROOT = Path(__file__).parent.parent.parent
HASTY = Patience(first_s=0.01, most_s=0.05, restarts=3, window_s=60.0, grace_s=5.0)

WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / f"{os.environ['WORKER_INDEX']}-{os.getpid()}").touch()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[3])))
if sys.argv[2] == "fail":
    sys.exit(7)
time.sleep(60)
"""


def _worker(folder: Path, what: str = "run", code: int = 0) -> list[str]:
    return [sys.executable, "-c", WORKER, str(folder), what, str(code)]


def _started(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def _alive(folder: Path) -> list[int]:
    pids = [int(path.name.partition("-")[2]) for path in folder.iterdir()]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _supervised(count: int, patience: Patience, worker: list[str]) -> subprocess.Popen[str]:
    program = f"from pipeline.worker.supervisor import *; sys.exit(supervise({count}, sys.argv[1:], {patience!r}))"
    argv = [sys.executable, "-c", f"import sys; {program}", *worker]
    return subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_workers_that_always_fail_are_restarted_a_bounded_number_of_times(tmp_path: Path) -> None:
    assert supervise(2, _worker(tmp_path, "fail"), HASTY) == 1
    started = len(list(tmp_path.iterdir()))
    assert HASTY.restarts < started <= 2 + HASTY.restarts  # the other may be waiting for its turn


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_in_order(tmp_path: Path, number: signal.Signals) -> None:
    supervisor = _supervised(2, HASTY, _worker(tmp_path))
    _until(lambda: _started(tmp_path) == ["0", "1"])
    supervisor.send_signal(number)
    _, text = supervisor.communicate(timeout=20)
    assert (supervisor.returncode, text) == (0, "")
    assert _alive(tmp_path) == []


def test_a_worker_told_to_end_while_it_starts_has_ended_in_order(tmp_path: Path) -> None:
    slow = "import pathlib, sys, time; pathlib.Path(sys.argv[1], '0-0').touch(); time.sleep(60)"
    supervisor = _supervised(1, HASTY, [sys.executable, "-c", slow, str(tmp_path)])
    _until(lambda: _started(tmp_path) == ["0"])
    supervisor.terminate()
    supervisor.communicate(timeout=20)
    assert supervisor.returncode == 0


def test_a_worker_that_does_not_end_in_order_is_told(tmp_path: Path) -> None:
    supervisor = _supervised(2, HASTY, _worker(tmp_path, code=3))
    _until(lambda: _started(tmp_path) == ["0", "1"])
    supervisor.terminate()
    supervisor.communicate(timeout=20)
    assert supervisor.returncode == 1


def test_a_worker_that_dies_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    supervisor = _supervised(2, HASTY, _worker(tmp_path))
    _until(lambda: _started(tmp_path) == ["0", "1"])
    (victim,) = [path for path in tmp_path.iterdir() if path.name.startswith("1-")]
    os.kill(int(victim.name.partition("-")[2]), signal.SIGKILL)
    _until(lambda: _started(tmp_path) == ["0", "1", "1"])
    supervisor.terminate()
    _, text = supervisor.communicate(timeout=20)
    assert supervisor.returncode == 0
    assert "worker 1 ended with code -9" in text
    assert _alive(tmp_path) == []


def test_a_worker_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    deaf = WORKER.replace("lambda *_: sys.exit(int(sys.argv[3]))", "signal.SIG_IGN")
    argv = [sys.executable, "-c", deaf, str(tmp_path), "run", "0"]
    supervisor = _supervised(1, Patience(grace_s=0.3), argv)
    _until(lambda: _started(tmp_path) == ["0"])
    time.sleep(0.2)  # until the signal is ignored
    supervisor.terminate()
    _, text = supervisor.communicate(timeout=20)
    assert supervisor.returncode == 1
    assert "worker 0 does not end; killing it" in text
    assert _alive(tmp_path) == []
