"""Bugs of the transmitter to put in on purpose; `mutations` has those of the worker."""

from __future__ import annotations

from typing import Final

from tests.faults.mutation import Mutation

KILLS: Final = (
    "tests/transmitter/test_transmitter_kills_on_kafka.py::"
    "test_nothing_is_lost_doubled_or_out_of_order_whatever_receivers_do_and_however_often_it_is_killed"
)
WHICH: Final = "sqlite"
OUTGOING: Final = "pipeline/transmitter/delivery/http_client.py"

_LOST: Final = (
    (
        "a push is called delivered before it is answered",
        "pipeline/transmitter/delivery/push_stream.py",
        "            result = await self._attempt(token, stream)\n",
        """\
            await self._resources.results.write(PushResult(token, "delivered"))
            result = await self._attempt(token, stream)
""",
    ),
    (
        "what is handed out to a poll is called delivered",
        "pipeline/transmitter/store/queue/polled.py",
        "statement.values(due_at=now_ms + redelivery_ms, attempts=sets.c.attempts + 1)",
        'these.values(state="delivered", ended_at=now_ms)',
    ),
    (
        "a dead letter is dropped in silence",
        "pipeline/transmitter/delivery/outcomes.py",
        "                    queue.dead_letter(conn, result.token.seq, result.error, result.text, now_ms)\n",
        "                    queue.mark_delivered(conn, [result.token.seq], now_ms)\n",
    ),
)

_DOUBLED: Final = (
    (
        "a jti is drawn at random",
        "pipeline/transmitter/tokens/claims.py",
        "    return stable_id(cause, stream_id, event)\n",
        '    return __import__("secrets").token_hex(16)\n',
    ),
)

_DISORDERED: Final = (
    (
        "tokens about one person do not wait for each other",
        "pipeline/transmitter/tokens/builder.py",
        "lane=lane_of(draft.security_event.subject)",
        "lane=draft.jti",
    ),
)

_MISLED: Final = (
    Mutation(
        "offsets are committed before what was read is stored",
        "pipeline/transmitter/tokens/consumer.py",
        """\
                if records and await self._store(records):
                    await self._commit(reader)
""",
        """\
                if records:
                    await self._commit(reader)
                    await self._store(records)
""",
        "tests/transmitter/test_consumer.py",
        "not postgres",
    ),
    Mutation(
        "a redirect is followed",
        OUTGOING,
        "allow_redirects=False",
        "allow_redirects=True",
        "tests/transmitter/test_http_client.py",
    ),
    Mutation(
        "whoever shows a certificate is believed",
        OUTGOING,
        "    context = ssl.create_default_context()\n",
        "    context = ssl._create_unverified_context()\n",
        "tests/transmitter/test_http_client.py",
    ),
    Mutation(
        "what became of a device is not remembered",
        "pipeline/transmitter/tokens/builder.py",
        "                device_compliance.remember(conn, devices)\n",
        "",
        "tests/transmitter/test_token_builder.py",
        "not postgres",
    ),
    Mutation(
        "a command that is read again counts as sent again",
        "pipeline/transmitter/store/revocations.py",
        'if fields["deadline"] <= before.deadline:',
        'if fields["deadline"] < before.deadline:',
        "tests/transmitter/test_revocation_status.py",
        "not postgres",
    ),
    Mutation(
        "one that stands by works too",
        "pipeline/transmitter/store/leader_election.py",
        "            yield _FixedLeadership(leads=False)\n        else:",
        "            yield _FixedLeadership(leads=True)\n        else:",
        "tests/transmitter/test_transmitter_processes.py",
        "not postgres",
    ),
)

TRANSMITTED: Final = (
    *(Mutation(*bug, KILLS, WHICH) for bug in (*_LOST, *_DOUBLED, *_DISORDERED)),
    *_MISLED,
)
