"""A worker can be made to die at every place between two writes, and only where it was told to."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.kafka.app import WorkerConfig
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.processing import failpoints
from pipeline.processing.failpoints import POINTS, FailpointError
from tests.support.counting_processor import SOURCES, Counting, counting_kind, produce, running, until

ROOT = Path(__file__).parent.parent.parent
N = 200


@pytest.fixture
def visits() -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    failpoints.set_visitor(lambda point: counted.update([point]))
    yield counted
    failpoints.set_visitor(None)


def test_a_worker_reaches_every_point(visits: Counter[str], tmp_path: Path) -> None:
    stages: list[Counting] = []

    async def work(edge: WorkerConfig) -> None:
        async with running(edge, [counting_kind(stages)]):
            await until(lambda: len(stages) == PARTITIONS and all(stage.is_ready for stage in stages))
            await produce(edge.connection, [(SOURCES[0], b"%d" % i, b"x") for i in range(N)])
            await until(lambda: sum(stage.count() for stage in stages) == N)
            await until(lambda: visits["offsets-committed"] > 0)

    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap, embedded=True)
        asyncio.run(work(WorkerConfig(connection, "failpoints", PARTITIONS, data_dir=tmp_path)))

    assert set(visits) == set(POINTS)


def test_the_code_names_every_point_once_and_no_other() -> None:
    named = [
        node.args[0].value
        for path in (ROOT / "pipeline").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hit"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, named)) == sorted(POINTS)


def test_a_process_dies_at_the_visit_it_was_told_as_if_killed() -> None:
    program = """
from pipeline.processing import failpoints
failpoints.arm("rows-due:3")
for visit in range(1, 6):
    failpoints.hit("rows-safe")
    print(visit, flush=True)
    failpoints.hit("rows-due")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["1", "2", "3"])
    assert done.stderr == f"FAILPOINT=rows-due:3 is reached: {POINTS['rows-due']}\n"


def test_a_process_stands_still_at_the_visit_it_was_told_until_it_is_told_to_go_on() -> None:
    program = """
from pipeline.processing import failpoints
failpoints.arm("rows-safe:2:STOP")
for visit in range(1, 5):
    print(visit, flush=True)
    failpoints.hit("rows-safe")
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert os.read(process.stdout.fileno(), 100).split() == [b"1", b"2"]  # type: ignore[union-attr]
        process.send_signal(signal.SIGCONT)
        payload, _ = process.communicate(timeout=20)
    assert (process.returncode, payload.split()) == (0, [b"3", b"4"])


@pytest.mark.parametrize("received", [None, ""])
def test_nobody_dies_who_was_not_told_to(received: str | None) -> None:
    failpoints.arm(received)
    for point in POINTS:
        failpoints.hit(point)


@pytest.mark.parametrize(
    "received",
    ["rows-dew", "rows-due:0", "rows-due:soon", "rows-due:-1", ":3", "rows-due:1:HUP", "rows-due:1:STOP:2"],
)
def test_a_point_that_is_none_is_refused_with_those_there_are(received: str) -> None:
    with pytest.raises(FailpointError, match=f"FAILPOINT={received}: write NAME.*rows-due"):
        failpoints.arm(received)
