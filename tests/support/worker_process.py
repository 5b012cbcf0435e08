"""A worker process as `session-risk worker` starts it, and what its metrics and its log tell."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from pipeline.metrics.worker import PREFIX
from tests.support.waiting import until

Series = dict[tuple[str, ...], float]
"""What a metric tells, by the values of its labels in the order of their names."""
DEALT_WITH = (f"{PREFIX}events_total{{", f"{PREFIX}dead_letters_total{{")


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment of a process that has these *settings* and no other."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SESSION_RISK_")}
    return {**own, "PYTHONPATH": str(Path(__file__).parent.parent.parent), **settings}


class Worker:
    """One worker; *log* is where it writes."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "pipeline.cli", "worker"]
        own = environment({**settings, "SESSION_RISK_METRICS_PORT": str(self.port)})
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, env=own, stdout=file, stderr=file)

    def samples(self) -> list[Sample]:
        """All that its metrics tell; nothing while nobody answers."""
        families = text_string_to_metric_families(self.page())
        return [sample for family in families for sample in family.samples]

    def page(self) -> str:
        """What its metrics are, as a scrape gets them; nothing while nobody answers."""
        assert self.process.poll() is None, f"it ended with {self.process.poll()}:\n{self.output()}"
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                return str(answer.read().decode())
        except (URLError, ConnectionError, TimeoutError):
            return ""

    def series(self, name: str) -> Series:
        """What the metric of this *name* tells."""
        return {
            tuple(sample.labels.values()): sample.value
            for sample in self.samples()
            if sample.name.removeprefix(PREFIX) == name
        }

    def done(self) -> int:
        """How many records it has dealt with, of all topics."""
        # Asked often: only the lines that are wanted are read.
        lines = (line for line in self.page().splitlines() if line.startswith(DEALT_WITH))
        return int(sum(float(line.rpartition(" ")[2]) for line in lines))

    def partitions(self) -> set[int]:
        """The partitions whose sessions it holds."""
        return {int(partition) for (partition,) in self.series("live_sessions")}

    def models(self) -> dict[str, str]:
        """The models it uses, with their roles."""
        return {labels[0]: labels[1] for labels in self.series("model_info")}

    def refused(self) -> set[str]:
        """The models that were ordered and that it cannot load."""
        return {name for (name,) in self.series("model_refused")}

    def drift(self) -> dict[str, float]:
        """How far each feature, and the score, has moved, as far as that can be said."""
        return {feature: psi for (feature,), psi in self.series("drift_psi").items()}

    def turn(self) -> None:
        """Return when it has shown all it has done so far: that happens about once a second."""
        for _ in range(2):  # the one under way may have begun before
            self._turn_after(self.series("heartbeat_timestamp_seconds"))

    def _turn_after(self, seen: Series) -> None:
        until(
            f"a heartbeat after {seen}",
            lambda: self.series("heartbeat_timestamp_seconds"),
            lambda now: now not in ({}, seen),
        )

    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        """Have it stop in order; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """Leave nothing of it behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
