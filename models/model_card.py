"""The card of a model: what it is, its training data, its measured quality, and the hash of each of its files.

`card.json` is for programs and verifies the other files; `card.md` has the same contents for people, with pictures.
Neither has a time of writing, so that the same data and seed give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from models.features.table import FEATURE_SET

CARD: Final = "card.json"
PAGE: Final = "card.md"
REFERENCE: Final = "reference.npz"
"""The training data as bins (`models.detectors.drift.Reference`)."""
PICTURES: Final[dict[str, str]] = {
    "scores.png": "How often each score is given",
    "precision.png": "Precision at each recall",
    "delay.png": "How long after an attack began its session was found odd",
    "drift.png": "How far each feature has moved from the training data",
}
"""The pictures that a card may have, with their titles."""


class BadModel(ValueError):
    """A model directory that cannot be used; the message says why and what to do."""


def write(directory: Path, about: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write *files* into *directory*, then the page for people and the card.

    The card is written last and has the hash of every file, so a half-written model is refused. Files of a model that
    was there before are removed, if its card names them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    page = "\n".join(_page(about, [name for name in PICTURES if name in files])) + "\n"
    contents = {**files, PAGE: page.encode()}
    for name in _named_by_card(directory) - contents.keys():
        (directory / name).unlink(missing_ok=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    hashes = {name: sha256(content).hexdigest() for name, content in sorted(contents.items())}
    card = {**about, "sha256": hashes}
    (directory / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n", "utf-8")


def _named_by_card(directory: Path) -> set[str]:
    """The files in *directory* that the card there names; none if it cannot be read."""
    try:
        named = json.loads((directory / CARD).read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    inside = {entry.name for entry in directory.iterdir()}
    return inside & set(named) if isinstance(named, dict) else set()


def read(directory: Path) -> dict[str, Any]:
    """The card in *directory*, if all files have the hashes that it names.

    A picture or page may be missing: no decision depends on it.

    Raises:
        BadModel: there is no card, a file is missing, was changed or is not named by the card, or the model was trained
            on other features.
    """
    try:
        card = json.loads((directory / CARD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(directory, error) from error
    if not isinstance(card, dict) or not isinstance(card.get("name"), str):
        raise _unreadable(directory, f"{CARD} gives no name")
    for name, expected in (card.get("sha256") or {}).items():
        try:
            found = sha256((directory / name).read_bytes()).hexdigest()
        except OSError as error:
            if name.endswith(".npz"):
                raise _unreadable(directory, error) from error
            continue
        if found != expected:
            raise BadModel(f"{directory / name}: changed since it was trained (its sha256 is not the card's)")
    if unnamed := sorted({path.name for path in directory.glob("*.npz")} - set(card.get("sha256") or {})):
        raise BadModel(
            f"{directory / unnamed[0]}: the card says nothing of this file; take it away, or train the model "
            "again with `session-risk train`"
        )
    if card.get("feature_set") != FEATURE_SET:
        raise BadModel(
            f"{directory}: trained on feature set {card.get('feature_set')}, this is {FEATURE_SET}: "
            "train it again with `session-risk train`"
        )
    return card


def _unreadable(directory: Path, why: object) -> BadModel:
    return BadModel(f"{directory}: no readable model ({why}); train one with `session-risk train`")


def _page(about: Mapping[str, Any], pictures: Sequence[str]) -> Iterator[str]:
    """`card.md`, line by line."""
    yield from (f"# Model {about['name']}", "")
    yield f"`{about['id']}`, over {len(about['features'])} features (set `{about['feature_set']}`)."
    yield from ("", "A sign, not a verdict: the score shifts a decision's balance and revokes nobody alone.")
    for key, title in _SECTIONS.items():
        if about.get(key):
            yield from ("", f"## {title}", "", *_lines(about[key]))
    for name in pictures:
        yield from ("", f"## {PICTURES[name]}", "", f"![{PICTURES[name]}]({name})")


_SECTIONS: Final = {
    "data": "Trained on",
    "cohorts": "Tenants of which it knows what is usual there",
    "fit": "How it was fitted",
    "thresholds": "Scores that only 1 %, 0.1 % and 0.01 % of normal traffic exceed",
    "metrics": "How well it does",
}


def _lines(value: Any) -> Iterator[str]:
    """A value of the card as Markdown: tables, a list of fields, or a line."""
    if isinstance(value, Mapping):
        plain = {name: value for name, value in value.items() if not _is_table(value)}
        yield from (f"- {_words(name)}: {_cell(value)}" for name, value in plain.items())
        for name, nested in value.items():
            if name not in plain:
                yield from ("", f"### {_words(name).capitalize()}", "", *_table(nested))
    else:
        yield _cell(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| " + " | ".join(_words(name) for name in rows[0]) + " |"
    yield "|" + "---|" * len(rows[0])
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row.values()) + " |"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(name))} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "–" if value is None else str(value)
