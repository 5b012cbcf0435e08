"""Secrets at rest: sealed by the first key of a file, opened by any of them, told to nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pipeline.transmitter.store.encryption import SealError, load

ONE, TWO = (Fernet.generate_key().decode() for _ in range(2))


def _keys(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys"
    path.write_text(text, "utf-8")
    return path


def test_what_was_sealed_is_opened_and_looks_like_nothing(tmp_path: Path) -> None:
    sealer = load(_keys(tmp_path, ONE))

    sealed = sealer.seal("Bearer gehéim")

    assert sealer.open(sealed) == "Bearer gehéim"
    assert b"Bearer" not in sealed
    assert sealer.seal("Bearer gehéim") != sealed


def test_the_first_key_seals_and_every_key_opens(tmp_path: Path) -> None:
    before = load(_keys(tmp_path, f"# the old one\n{ONE}\n")).seal("before")

    sealer = load(_keys(tmp_path, f"\n{TWO}\n{ONE}\n"))

    assert sealer.open(before) == "before"
    assert load(_keys(tmp_path, TWO)).open(sealer.seal("after")) == "after"


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_what_was_changed_or_sealed_by_another_key_is_not_opened(tmp_path: Path, cut: int) -> None:
    sealed = load(_keys(tmp_path, ONE)).seal("text")
    path = _keys(tmp_path, TWO)

    for sealer, data in ((load(path), sealed), (load(_keys(tmp_path, ONE)), sealed[cut + 1 :])):
        with pytest.raises(SealError) as refused:
            sealer.open(data)
        assert str(refused.value).startswith(f"{path}: no key in it decrypts the secrets of this store")


def test_a_missing_file_is_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys"

    sealed = load(path).seal("text")

    assert load(path, make=False).open(sealed) == "text"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_make_the_file_at_once_all_have_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: load(path), range(16)))

    sealed = sealers[0].seal("text")

    assert [sealer.open(sealed) for sealer in sealers] == ["text"] * 16


REFUSED = {
    "": "contains no key; each line is a key as made by `python",
    "# nothing\n\n": "contains no key; each line is a key as made by `python",
    f"{ONE}\nopen sesame\n": "line 2: not a key; each line is a key as made by `python",
    "schlüssel": "not a key file; each line is a key as made by `python",
}


@pytest.mark.parametrize("text", REFUSED, ids=["empty", "comment only", "a line that is no key", "not ASCII"])
def test_a_file_that_holds_no_keys_is_refused_without_telling_what_it_holds(tmp_path: Path, text: str) -> None:
    path = _keys(tmp_path, text)

    with pytest.raises(SealError) as refused:
        load(path)

    assert REFUSED[text] in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "sesame" not in str(refused.value)
    assert ONE not in str(refused.value)


def test_a_file_that_is_not_there_and_not_to_be_made_is_missed(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="there is no such key file"):
        load(tmp_path / "keys", make=False)


def test_a_sealer_shows_its_file_and_no_key(tmp_path: Path) -> None:
    path = _keys(tmp_path, ONE)

    assert repr(load(path)) == f"Sealer({str(path)!r})"
