"""Values in requests, with their bounds: what a store could not hold is refused before it gets there."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

STORABLE: Final = r"^[^\x00]*$"
"""A text without NUL, which PostgreSQL cannot hold."""
HEADER: Final = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
"""RFC 9110 §5.5, without obs-text: anything else could end the header and begin another."""

Line = Annotated[str, Field(max_length=512, pattern=STORABLE)]
Uri = Annotated[str, Field(min_length=1, max_length=512, pattern=STORABLE)]
Url = Annotated[str, Field(min_length=1, max_length=2048, pattern=STORABLE)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=4096, pattern=HEADER)]
StreamId = Annotated[str, Field(max_length=256, examples=["f67e39a0a4d34d56b3aa1bc4cff0069f"])]


class Request(BaseModel):
    """A body: JSON types are meant strictly, unknown members are left out (SSF 1.0 §4.2.3)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """A body of ours: members without a value are left out of it."""

    model_config = ConfigDict(frozen=True)
