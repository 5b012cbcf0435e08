"""The queue of each stream, as the rest uses it: what waits, what is polled, what is dead."""

from pipeline.transmitter.store.queue.dead_letters import (
    DeadLetter,
    counted,
    dead,
    drop_oldest,
    kids_waiting,
    purge,
    revive,
)
from pipeline.transmitter.store.queue.polled import acknowledge, hand_out, refuse
from pipeline.transmitter.store.queue.waiting import (
    again,
    bury,
    delivered,
    heads,
    held,
    known,
    next_due,
    put,
    some,
)

__all__ = [
    "DeadLetter",
    "acknowledge",
    "again",
    "bury",
    "counted",
    "dead",
    "delivered",
    "drop_oldest",
    "hand_out",
    "heads",
    "held",
    "kids_waiting",
    "known",
    "next_due",
    "purge",
    "put",
    "refuse",
    "revive",
    "some",
]
