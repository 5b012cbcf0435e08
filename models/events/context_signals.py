"""Table of the signals that contexts send to sessions: one row per signal, one bit in the row of a session.

A context knows what one session cannot know: the earlier state of its device, what its principal usually does, who else
failed to sign in from its network. A message of a context may list which of its signals hold now; a signal that is not
listed no longer holds. A message without the field ``signals`` leaves them unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Source = Literal["device", "principal", "lineage", "network"]


class Signal(NamedTuple):
    """A signal: its *name* on the wire, the context that sends it, and what it means."""

    name: str
    source: Source
    text: str


SIGNALS: Final[tuple[Signal, ...]] = (
    Signal("posture_downgraded", "device", "within the hour and under the session, a posture fact got worse"),
    Signal("attestation_downgraded", "device", "within a day, from a proof by hardware to less"),
    Signal("os_downgraded", "device", "within a day, the version or patch level of the system went down"),
    Signal("patch_stale", "device", "the patch level is half a year old"),
    Signal("sim_changed", "device", "within a day, the device got another SIM"),
    Signal("clock_tampered", "device", "within the hour, the device's time contradicted another clock"),
    Signal("new_device", "principal", "within the hour, the principal was first seen on this device"),
    Signal(
        "factor_reset_new_device", "principal",
        "within a day, first seen on this device, within a day after a factor was changed",
    ),
    Signal("sprayed_network", "network", "Many principals failed to sign in from where this one succeeded."),
    Signal(
        "network_of_newcomers", "network",
        "Several people signed in within an hour through a network that hides them and is new to them.",
    ),
    Signal("new_anonymiser", "principal", "A person hides behind a VPN or data centre for the first time."),
    Signal("new_tor", "principal", "A person comes through Tor for the first time."),
    Signal("off_home", "principal", "A workload's credential is used outside of the workload's network."),
    Signal("unfamiliar_use", "principal", "used a scope or sensitive operation new to its principal"),
    Signal("unfamiliar_tool", "principal", "used a tool new to its agent"),
    Signal("chains_usual", "principal", "its principal makes credentials and widens rights regularly"),
    Signal("parent_at_risk", "lineage", "its parent session is at MEDIUM or HIGH"),
    Signal(
        "unheard_use", "principal",
        "used a sensitive operation or a tool that is new to its principal and that the model does not know",
    ),
    Signal("blinding_usual", "principal", "its principal changes what is audited regularly"),
    Signal("sharing_usual", "principal", "its principal lets others outside in regularly"),
)  # fmt: skip
"""The index of a signal is its bit in session rows: new signals go to the end."""
SIGNAL_BIT: Final = {signal.name: index for index, signal in enumerate(SIGNALS)}


def packed(names: Iterable[str]) -> int:
    """Return the signals *names* as bits; an unknown name (of a newer version) is ignored."""
    return sum(1 << SIGNAL_BIT[name] for name in set(names) if name in SIGNAL_BIT)


def has_signal(bits: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    """Return whether the signal *name* is among the *bits*, ``(n,)``."""
    found: NDArray[np.bool_] = bits >> np.uint64(SIGNAL_BIT[name]) & np.uint64(1) != 0
    return found


def bits_of(source: str) -> int:
    """Return all signals of one *source* as bits."""
    return packed(signal.name for signal in SIGNALS if signal.source == source)


def signal_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the signals of ``session.context`` events, and which events list any."""
    messages = [event.get("signals") for event in events]
    return {
        "signals": np.array([packed(names or ()) for names in messages], np.uint64),
        "signalled": np.array([names is not None for names in messages], np.bool_),
    }
