"""What holds for all tests."""

import os

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.stores", "tests.support.fixtures"]

# How long an example takes says something of the machine and what else it does, nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs Kafka where no broker is named; `make test-kafka` and `make test-faults` name one."""
    if os.environ.get("SESSION_RISK_BROKER"):
        return
    for item in items:
        if item.get_closest_marker("kafka") or item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.skip(reason="needs Kafka: make test-kafka or make test-faults starts one"))
