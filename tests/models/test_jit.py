"""Machine code is kept where it may be, made anew when anything it came from changes, and made only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.jit import digest_of, kept_in
from models.updates import fold
from pipeline.control.active import ActiveConfig
from pipeline.process_setup import EVERY, search_seldom
from pipeline.worker.warmup import compile_all


def test_a_change_of_any_file_of_the_package_is_another_digest(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "one.py").write_text("A = 1\n")
    (tmp_path / "inner" / "two.py").write_text("B = 2\n")
    before = digest_of(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert digest_of(tmp_path) == before

    (tmp_path / "inner" / "two.py").write_text("B = 3\n")

    assert digest_of(tmp_path) != before


def test_it_is_kept_in_the_first_place_that_can_be_written_to_and_older_code_goes(tmp_path: Path) -> None:
    nowhere, place = tmp_path / "file" / "below", tmp_path / "cache"
    (tmp_path / "file").write_text("no folder")
    (place / "compiled-old").mkdir(parents=True)
    (place / "something-else").mkdir()

    kept = kept_in((nowhere, place, tmp_path / "never"), "new")

    assert kept == place / "compiled-new"
    assert sorted(path.name for path in place.iterdir()) == ["compiled-new", "something-else"]
    assert not (tmp_path / "never").exists()


def test_what_can_only_be_read_is_taken_along_to_where_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, home = tmp_path / "image", tmp_path / "home"
    (image / "compiled-new").mkdir(parents=True)
    (image / "compiled-new" / "fold.nbi").write_bytes(b"machine code")
    touch = Path.touch

    def refused(self: Path, *_: Any, **__: Any) -> None:
        if image in self.parents:
            raise PermissionError(self)
        touch(self)

    monkeypatch.setattr(Path, "touch", refused)

    kept = kept_in((image, home), "new")

    assert kept == home / "compiled-new"
    assert (kept / "fold.nbi").read_bytes() == b"machine code"


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    assert kept_in((tmp_path / "file" / "below",), "new") is None


def test_every_kind_of_event_is_folded_by_code_that_warming_up_has_made() -> None:
    compiled: Any = fold._fold
    compile_all(ActiveConfig())

    assert len(compiled.signatures) == 1


def test_garbage_is_searched_as_seldom_as_a_worker_needs(monkeypatch: Any) -> None:
    details: list[Any] = []
    monkeypatch.setattr("gc.freeze", lambda: details.append("freeze"))
    monkeypatch.setattr("gc.set_threshold", lambda *every: details.append(every))

    search_seldom()

    assert details == ["freeze", EVERY]
