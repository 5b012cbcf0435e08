"""Values in requests, with their bounds: what a store could not hold is refused before it gets there."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def storable(value: str) -> str:
    """Refuse what PostgreSQL cannot hold."""
    if "\x00" in value:
        raise ValueError("a text holds no NUL character")
    return value


def _header_value(value: str) -> str:
    """RFC 9110 §5.5, without obs-text: anything else could end the header and begin another."""
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
        raise ValueError("a header's value is printable ASCII without blanks at its ends")
    return value


Line = Annotated[str, Field(max_length=512), AfterValidator(storable)]
Uri = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(storable)]
Url = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(storable)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_header_value)]
StreamId = Annotated[str, Field(max_length=256, examples=["f67e39a0a4d34d56b3aa1bc4cff0069f"])]


class Request(BaseModel):
    """A body: JSON types are meant strictly, unknown members are left out (SSF 1.0 §4.2.3)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """A body of ours: members without a value are left out of it."""

    model_config = ConfigDict(frozen=True)
