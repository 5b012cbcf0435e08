"""What is in force: the policy from its file, mode and champion from orders, put into a brain between chunks.

What cannot be used is reported and changes nothing. What the orders come to depends only on the newest one
about each model, so a worker that reads `model-control` after compaction comes to the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.artefacts import CARD, SHIPPED, BadModel, load, load_reference, load_roles
from models.detectors.base import Detector, NoDetector
from models.detectors.drift import Reference
from models.roles.roles import Roles
from pipeline.control.active import ActiveConfig, Challenger
from pipeline.control.drift import LiveDrift
from pipeline.decisions.policy import BadPolicy, Mode, Policy, read_policy
from pipeline.processing.processor import Record
from schemas.decode import decode_chunk
from schemas.topics import MODEL_CONTROL

FileStamp = tuple[tuple[str, int, int, int, int], ...]


def file_stamp(path: Path) -> FileStamp:
    """What changes when the file, or a file in the folder, at *path* does; empty where there is nothing.

    The inode tells of a file that was moved there, and no program can set the time of the last change.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple(
        (name, stat_result.st_mtime_ns, stat_result.st_size, stat_result.st_ino, stat_result.st_ctime_ns)
        for name, stat_result in found
    )


class WatchedPath:
    """Looks at *path* again and again; what it is like at first is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._seen = file_stamp(path)

    def has_changed(self) -> bool:
        """Whether it is another than was known, and the same as at the look before: then that is known.

        A file that is copied in place is there in parts first, and each part may be good in itself.
        """
        before, self._seen = self._seen, file_stamp(self._path)
        if self._seen == self._known or self._seen != before:
            return False
        self._known = self._seen
        return True

    def differs(self) -> bool:
        """Whether it is another than was known, be it half written."""
        return file_stamp(self._path) != self._known


logger = logging.getLogger(__name__)

ANY_MODEL: Final = "*"
"""An order to set the mode is under this name when it is about whichever model decides."""
DEFAULT_MODEL: Final = "default"

_FOREVER: Final = 2**62
Loaded = tuple[Detector, Roles | None]
"""A model: what finds the unusual, and what it knows of roles."""


@dataclass(frozen=True, slots=True)
class Models:
    """A folder with a model in each sub-folder."""

    folder: Path = SHIPPED

    def load(self, name: str) -> Detector:
        """Return the model called *name*; raises `BadModel` where there is none that can be used.

        Where no default model ships, its place is taken by a detector that finds nothing unusual.
        """
        if name == DEFAULT_MODEL and self.folder == SHIPPED and not (SHIPPED / name).exists():
            return NoDetector()
        return load(self.place(name))

    def place(self, name: str) -> Path:
        """Where the model called *name* is; raises `BadModel` where that is no name of one."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise BadModel(f"{name!r} is no name of a model: it is a folder in {self.folder}")
        return self.folder / name

    def reference(self, name: str) -> Reference | None:
        """Return what the model called *name* was trained on, if its folder says so; raises `BadModel`."""
        folder = self.folder / name
        return load_reference(folder) if (folder / CARD).is_file() else None

    def roles(self, name: str) -> Roles | None:
        """Return what the model called *name* knows of roles; raises `BadModel` where it cannot be used."""
        return load_roles(self.folder / name) if (self.folder / name).exists() else None


@dataclass(frozen=True, slots=True)
class Configured:
    """What is in force before any order: where *policy_file* or *mode* is `None`, the default's."""

    policy_file: Path | None = None
    model: str = DEFAULT_MODEL
    mode: Mode | None = None
    models: Models = Models()


class ConfigReloader:
    """Keeps *brain* at what files and orders say; raises `BadPolicy` or `BadModel` when it cannot begin."""

    def __init__(self, configured: Configured, complain: Callable[[str], None] = logger.error) -> None:
        self.brain = ActiveConfig()
        self.challengers: dict[str, Challenger] = {}
        self.refused: set[str] = set()
        self.policy_refused = False
        """Whether the policy file cannot be used, and an older policy than it is in force."""
        self._configured = configured
        self._complain = complain
        self._orders: dict[str, dict[str, Any]] = {}
        self._champion = configured.model
        self._files: dict[str, WatchedPath] = {}
        self._policy_file = None if configured.policy_file is None else WatchedPath(configured.policy_file)
        self._policy = read_policy(configured.policy_file)
        self.brain.use_model(*self._read(configured.model))
        self.brain.drift = self._drift_of(configured.model)
        self._apply()

    @property
    def champion(self) -> str | None:
        """The id of the model that decides, `None` where rules decide alone."""
        known = self.brain.detector.id
        return None if known == NoDetector.id else known

    @property
    def policy(self) -> Policy:
        """The policy by which is decided, its mode included."""
        return self.brain.judge.policy

    def check(self) -> None:
        """Read the policy file again if it changed, and models that could not be used if theirs did.

        One that cannot be used is reported once; what is in force stays.
        """
        if self._policy_file is not None and self._policy_file.has_changed():
            self._read_policy()
        looked_at = sorted(self.refused & self._files.keys())
        if changed := {name for name in looked_at if self._files[name].has_changed()}:
            self._follow(changed)

    def _read_policy(self) -> None:
        try:
            self._policy = read_policy(self._configured.policy_file)
        except BadPolicy as error:
            self.policy_refused = True
            self._complain(f"the policy stays {self.policy.id}: {error}")
            return
        self.policy_refused = False
        self._apply()
        logger.info("the policy is %s now, mode %s", self.policy.id, self.policy.mode)

    def on_control_record(self, record: Record) -> None:
        """Follow an order from `model-control`, newer than those before it."""
        decoded = decode_chunk(MODEL_CONTROL, [record.value], [record.key], now_ms=_FOREVER)
        for rejected in decoded.rejected:
            self._complain(f"{MODEL_CONTROL}, offset {record.offset}: no order: {rejected.reason}")
        for order in decoded.events:
            self._orders.pop(order["model"], None)  # the newest is last
            self._orders[order["model"]] = order
            about = order["model"]
            known = self._files.get(about)
            self._follow({about} if known and known.differs() else set())

    def _follow(self, changed: Collection[str]) -> None:
        """Do what the orders say; models whose files *changed* are read again.

        Where those cannot be used, what was read of them before stays in use.
        """
        still_refused, self.refused = self.refused.difference(changed), set()
        self._choose_champion(changed)
        wanted = [name for name, order in self._orders.items() if order["command"] == "shadow"]
        known, self.challengers = self.challengers, {}
        for name in wanted:
            if name in known and name not in changed:
                self.challengers[name] = known[name]
            elif (model := self._loaded(name)) is not None:
                self.challengers[name] = Challenger(*model)
            elif name in known:
                self.challengers[name] = known[name]
        self.refused |= still_refused & {self._champion, *self.challengers}
        self.brain.challengers = tuple(self.challengers.values())
        self._apply()

    def _choose_champion(self, changed: Collection[str]) -> None:
        """The model promoted last that can be loaded; else the configured one, unless it is retired."""
        for name in succession(self._orders, self._configured.model):
            if name == self._champion and name not in changed:
                return
            model = self._loaded(name)
            if model is None and name == self._champion:
                return
            if model is not None:
                self._champion = name
                self.brain.use_model(*model)
                self.brain.drift = self._drift_of(name)
                logger.info("the champion is %s now", self.brain.detector.id)
                return
        self._champion, self.brain.drift = "", None
        self.brain.use_model(NoDetector(), None)
        logger.info("there is no champion: rules decide alone")

    def _loaded(self, name: str) -> Loaded | None:
        try:
            return self._read(name)
        except BadModel as error:
            self.refused.add(name)
            self._complain(f"model {name} cannot be used: {error}")
            return None

    def _read(self, name: str) -> Loaded:
        """The model called *name*, all of it as it was at one moment; raises `BadModel`."""
        models = self._configured.models
        watched = self._files[name] = WatchedPath(models.place(name))
        loaded = models.load(name), models.roles(name)
        if watched.differs():
            raise BadModel(f"{models.place(name)}: changed while it was read; it is read again as it stays")
        return loaded

    def _drift_of(self, name: str) -> LiveDrift | None:
        """What counts the drift from what model *name* was trained on; nothing where that is not known."""
        try:
            reference = self._configured.models.reference(name)
        except BadModel as error:
            self._complain(f"drift of model {name} is not known: {error}")
            return None
        return None if reference is None else LiveDrift(reference)

    def _apply(self) -> None:
        spoken = [order for order in self._orders.values() if order["command"] == "mode" or order["mode"]]
        ordered = spoken[-1]["mode"] if spoken else None
        mode = ordered or self._configured.mode or self._policy.mode
        policy = self._policy if mode == self._policy.mode else self._policy.model_copy(update={"mode": mode})
        if policy != self.brain.judge.policy:
            self.brain.use_policy(policy)


def succession(orders: Mapping[str, dict[str, Any]], configured: str) -> list[str]:
    """Return the names of the models that may decide, the first before the next.

    *orders* holds the newest about each model, oldest first; *configured* is the model without any.
    """
    promoted = [name for name, order in orders.items() if _promotes(order)]
    retired = orders.get(configured, {}).get("command") == "retire"
    return list(dict.fromkeys([*reversed(promoted), *(() if retired else (configured,))]))


def _promotes(order: dict[str, Any]) -> bool:
    """Whether its model decides: it was promoted, or given the mode it decides in."""
    command, model = order["command"], order["model"]
    return bool(command == "promote" or (command == "mode" and model != ANY_MODEL))
