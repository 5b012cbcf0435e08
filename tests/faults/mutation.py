"""What a bug is that is put in on purpose."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """A *bug*: *old* in *file* becomes *new*. *test* must go red, that *of* its parameters."""

    bug: str
    file: str
    old: str
    new: str
    test: str
    of: str = ""
