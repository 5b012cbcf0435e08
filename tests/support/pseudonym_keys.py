"""Two keys of pseudonyms, and their secrets."""

from __future__ import annotations

from pipeline.processing.pseudonyms import Key, Pseudonyms

SECRET = "correct horse battery staple, 4711 times".replace(" ", "-")
OLDER = "an-older-secret-that-nobody-has-any-use-for"
ONE = Pseudonyms((Key("k1", SECRET.encode()),))
TWO = Pseudonyms((Key("k2", OLDER.encode()),))
