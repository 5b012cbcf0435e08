"""Names of headers that are no text, as clients in other languages may write them."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c


def spoil_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have headers named `no-text` written with a name that is none, as clients in other languages may."""
    build: Any = BatchBuilder._build

    def spoil(builder: BatchBuilder) -> bytearray:
        batch = bytearray(build(builder))
        if b"no-text" in batch:
            batch = batch.replace(b"no-text", b"no-\xff\xff\xff\xff")
            batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
        return batch

    monkeypatch.setattr(BatchBuilder, "_build", spoil)
