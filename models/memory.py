"""What strings become is worked out once and remembered as packed bytes."""

from __future__ import annotations

from collections.abc import Callable


class Memory:
    """Packed answers, found by the hash of their question; bounded, and starting afresh changes no answer.

    Only strings may be asked: Python hashes those with a secret of the process (SipHash, PEP 456), so nobody
    can choose two questions that meet. Keeping the questions themselves would cost a cache miss for every
    string.
    """

    def __init__(self, make: Callable[..., bytes], limit: int) -> None:
        self._answers: dict[int, bytes] = {}
        self._make = make
        self._limit = limit

    def ask(self, questions: list[tuple[str | None, ...]]) -> bytes:
        """The answers to all *questions*, one after another."""
        keys = list(map(hash, questions))
        answers = list(map(self._answers.get, keys))
        if None in answers:
            for at in [at for at, answer in enumerate(answers) if answer is None]:
                if len(self._answers) >= self._limit:
                    self._answers.clear()
                answers[at] = self._answers[keys[at]] = self._make(*questions[at])
        return b"".join(answers)  # type: ignore[arg-type]  # none is None any more
