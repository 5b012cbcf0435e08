"""What tests of the transmitter stand on, asked for by name: its HTTP side in this process, or a whole one.

A module that needs other settings says them in an `api_settings` or `rig_settings` of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.transmitter_api import Api, new_api


@pytest.fixture
def api_settings() -> dict[str, Any]:
    """Settings of `api`, as `new_api` takes them."""
    return {}


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory, api_settings: dict[str, Any]) -> Iterator[Api]:
    """The HTTP side over a store of its own."""
    api = new_api(tmp_path_factory.mktemp("api"), **api_settings)
    yield api
    api.services.store.close()


@pytest.fixture
def token(api: Api) -> str:
    """A token of the receiver `idp` that may manage."""
    return api.token()


@pytest.fixture(scope="module")
def rig_settings() -> dict[str, Any]:
    """Settings of `rig`, as `transmitter` takes them."""
    return {}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, rig_settings: dict[str, Any]) -> Iterator[Rig]:
    """A transmitter in a process of its own, for the tests of one module."""
    with transmitter(tmp_path_factory.mktemp("rig"), **rig_settings) as rig:
        yield rig
