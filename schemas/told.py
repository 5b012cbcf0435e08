"""Decoded events that are not kept whole: what was taken of each, and its record to read again."""

from collections.abc import Callable, Sequence
from typing import Any

Plain = dict[str, Any]


class Told(Sequence[Plain]):
    """Events of which only some members were kept, as `rows`; a whole one is read again when it is asked for.

    A decoded event is a kilobyte of dictionary, and most are looked at once, for the same members: those are
    taken while the event is at hand, and memory is spared a chunk of such dictionaries.
    """

    def __init__(
        self, rows: list[tuple[Any, ...]], values: list[bytes], read: Callable[[bytes], Plain]
    ) -> None:
        self.rows = rows
        self._values = values
        self._read = read

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self._read(self._values[index])

    def chosen(self, indexes: Sequence[int]) -> "Told":
        """The events at *indexes*, in that order."""
        return Told([self.rows[at] for at in indexes], [self._values[at] for at in indexes], self._read)
