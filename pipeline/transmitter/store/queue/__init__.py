"""Queues of the streams: waiting tokens, polled tokens and dead letters."""

from pipeline.transmitter.store.queue.dead_letters import (
    DeadLetter,
    count_dead_letters,
    drop_oldest,
    list_dead_letters,
    needed_key_ids,
    purge,
    requeue,
)
from pipeline.transmitter.store.queue.polled import acknowledge, hand_out, refuse
from pipeline.transmitter.store.queue.waiting import (
    backlog_size,
    dead_letter,
    heads,
    known_jtis,
    mark_delivered,
    next_due,
    put,
    retry_later,
    waiting_seqs,
)

__all__ = [
    "DeadLetter",
    "acknowledge",
    "backlog_size",
    "count_dead_letters",
    "dead_letter",
    "drop_oldest",
    "hand_out",
    "heads",
    "known_jtis",
    "list_dead_letters",
    "mark_delivered",
    "needed_key_ids",
    "next_due",
    "purge",
    "put",
    "refuse",
    "requeue",
    "retry_later",
    "waiting_seqs",
]
