"""A desk at which models are ordered: a folder with models, an embedded broker that keeps the orders, and a policy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.commands import model
from pipeline.kafka.client import values_containing
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from schemas.topics import MODEL_CONTROL
from tests.support.model_workers import CALM, ODD, put
from tests.support.samples import UNASKED

POLICY = f"""
mode = "observe"
prior = -4.0
anomaly_weights = [0.5, 0.9, 1.2]
{UNASKED}[levels]
medium_raise = 40
high_raise = 80
[detections.network_changed]
weight = 4.5
"""
"""A new network asks for a factor, and revokes if the model finds it odd, too; the model alone does nothing."""


class Desk:
    """The models calm, which decides, and odd and calmer; a broker that knows the orders; and recordings."""

    def __init__(self, folder: Path, broker: EmbeddedBroker) -> None:
        self.models = folder / "models"
        self.ids = {name: put(self.models / name, at) for name, at in (("calm", CALM), ("odd", ODD), ("calmer", CALM))}
        self._broker = broker

    def run(self, *words: str | Path) -> Result:
        return CliRunner().invoke(main, [*map(str, words)])

    def promote(self, *words: str | Path) -> Result:
        return self.run("promote", *words)

    def ordered(self) -> list[tuple[str, str]]:
        payloads = asyncio.run(values_containing(Connection(self._broker.bootstrap), MODEL_CONTROL, ""))
        return [(order["command"], order["model"]) for order in map(json.loads, payloads)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    with EmbeddedBroker() as broker:
        broker.create([MODEL_CONTROL])
        made = Desk(tmp_path, broker)
        for name, value in {
            "BROKER": broker.bootstrap,
            "MODEL_DIR": str(made.models),
            "MODEL": "calm",
            "POLICY_FILE": str(policy),
        }.items():
            monkeypatch.setenv(f"SESSION_RISK_{name}", value)
        monkeypatch.setattr(model, "needed_topics", lambda *_: ())
        yield made
