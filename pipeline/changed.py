"""Whether a file or folder has changed, told once it is no longer being written."""

from __future__ import annotations

from pathlib import Path

Mark = tuple[tuple[str, int, int, int, int], ...]


def mark_of(path: Path) -> Mark:
    """What changes when the file, or a file in the folder, at *path* does; empty where there is nothing.

    The inode tells of a file that was moved there, and no program can set the time of the last change.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [(one.name, one.stat()) for one in files]
    except OSError:
        return ()
    return tuple(
        (name, told.st_mtime_ns, told.st_size, told.st_ino, told.st_ctime_ns) for name, told in found
    )


class Watched:
    """Looks at *path* again and again; what it is like at first is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._seen = mark_of(path)

    def has_changed(self) -> bool:
        """Whether it is another than was known, and the same as at the look before: then that is known.

        A file that is copied in place is there in parts first, and each part may be good in itself.
        """
        before, self._seen = self._seen, mark_of(self._path)
        if self._seen == self._known or self._seen != before:
            return False
        self._known = self._seen
        return True

    def differs(self) -> bool:
        """Whether it is another than was known, be it half written."""
        return mark_of(self._path) != self._known
