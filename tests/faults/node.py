"""A Kafka node of a test's own, to be killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

RUN = Path(__file__).parent.parent.parent / "deploy" / "kafka" / "run.sh"
START_SECONDS = 90.0


class Node:
    """One node with its data in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and return before it listens."""
        environment = {**os.environ, "KAFKA_HEAP_OPTS": "-Xmx512m -Xms128m"}
        self._process = subprocess.Popen([str(RUN), str(self._folder), str(self._port)], env=environment)

    def listens(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@contextmanager
def node(folder: Path) -> Iterator[Node]:
    """Give a node that listens; it is gone when the block ends."""
    this_node = Node(folder)
    this_node.start()
    try:
        deadline = monotonic() + START_SECONDS
        while not this_node.listens():
            assert monotonic() < deadline, "Kafka did not start; what it said is above"
            sleep(0.2)
        yield this_node
    finally:
        this_node.kill()


def _port() -> int:
    """Return a free port whose successor is free, too: the broker's and its controller's."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
