"""A transmitter, one that can stand by, and receivers of every form that misbehave; and what these heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

from tests.support.many_people import COMPLIANCE, EVENTS, Received, jti_of, received
from tests.support.misbehaving_receivers import DEADLY, REFUSALS, Moods, Poller
from tests.support.push_receiver import ACCEPTED, self_signed
from tests.support.push_receiver import Receiver as Listener
from tests.support.ssf_http import Wire
from tests.support.ssf_receiver import CAEP, Receiver, push_to
from tests.support.transmitters import OnKafka
from tests.support.waiting import until

SETTINGS: Final[dict[str, Any]] = {
    "push_at_once": 32,
    "push_attempts": 6,
    "push_timeout_s": 3,
    "push_backoff_s": 0.05,
    "push_backoff_max_s": 0.4,
    "redelivery_s": 3,
}
SECRET: Final = "Bearer s3cret"  # noqa: S105 - of a receiver that lives for a minute


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, whose it is, and what it must be told, by `jti`."""

    receiver: Receiver
    stream_id: str
    expected: Mapping[str, Received]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a stream by what its receiver knows.

    *seen*: texts by `jti`, as they came first; what it *took*, and what it did not take at least once; the
    *reasons* of which a token may be dead.
    """

    stream: Stream
    seen: Mapping[str, str]
    took: frozenset[str]
    refused: frozenset[str]
    reasons: frozenset[str]


@dataclass(slots=True)
class Scene:
    """Two transmitters of one group and store, of which *works* is the one that works, and who listens.

    *distrusted* is pushed to where nobody vouches for the certificate; in the end its receiver gives it up.
    """

    name: str
    one: OnKafka
    other: OnKafka
    works: OnKafka
    pushed: Sequence[tuple[Stream, Listener]]
    polled: tuple[Stream, Poller]
    distrusted: Stream
    moods: Moods

    @property
    def streams(self) -> list[Stream]:
        return [*(stream for stream, _ in self.pushed), self.polled[0], self.distrusted]

    def count(self) -> int:
        """How much was pushed and polled so far."""
        return sum(len(listener.pushes) for _, listener in self.pushed) + len(self.polled[1].seen)

    def stand_by(self) -> None:
        """Have the other stand by."""
        self.other.start()
        assert (self.one.leads(), self.other.leads()) == (True, False)

    def hand_over(self) -> None:
        """Kill the one that works; the other does."""
        self.one.kill()
        self.works = self.other
        until("the other to work", self.other.leads, bool)

    def fall(self) -> None:
        """Kill what works; the one begins again."""
        self.works.kill()
        self.works = self.one
        self.one.start()

    def deliveries(self) -> list[Delivery]:
        """What each receiver heard."""
        polled, poller = self.polled
        every = frozenset(self.distrusted.expected)
        return [
            *(_pushed(stream, listener) for stream, listener in self.pushed),
            Delivery(polled, poller.seen, frozenset(poller.acked), frozenset(poller.refused), frozenset(REFUSALS)),
            Delivery(self.distrusted, {}, frozenset(), every, frozenset({"stream_removed"})),
        ]


def _pushed(stream: Stream, listener: Listener) -> Delivery:
    seen: dict[str, str] = {}
    for push in listener.pushes:
        assert seen.setdefault(push.claims["jti"], push.body) == push.body
        assert push.headers["Authorization"] == SECRET
    took = {push.claims["jti"] for push in listener.accepted}
    refused = {push.claims["jti"] for push in listener.pushes if push.reply is not ACCEPTED}
    return Delivery(stream, seen, frozenset(took), frozenset(refused), frozenset(DEADLY))


@contextmanager
def scene(url: str, folder: Path, rng_for: Random) -> Iterator[Scene]:
    """Have it all at work while the block lasts, with a store at *url*; who works then is told to end."""
    name, group = f"k-{uuid4().hex[:8]}", f"transmitter-{uuid4().hex[:8]}"
    own = {**SETTINGS, "database": url, "key_file": folder / "keys"}
    on_kafka = OnKafka(folder / "one", group, **own)
    other = OnKafka(folder / "other", group, issuer=on_kafka.issuer, **own)
    with ExitStack() as stack:
        for each in (on_kafka, other):
            stack.callback(each.kill)
        elsewhere = stack.enter_context(Listener())
        untrusted = stack.enter_context(Listener(tls=self_signed(folder)))
        on_kafka.begin()
        moods = Moods(Random(rng_for.random()), elsewhere.url)  # noqa: S311 - drawn by a seed
        pushed = []
        for form in ("iss_sub", "complex"):
            listener = stack.enter_context(Listener(moods))
            pushed.append((_stream(on_kafka, name, form, EVENTS, listener.url), listener))
        distrusted = _stream(on_kafka, name, "complex", [COMPLIANCE], untrusted.url, "distrusted")
        polled = _stream(on_kafka, name, "email", EVENTS)
        poller = Poller(polled.receiver, _doors(polled, on_kafka, other), Random(rng_for.random()))  # noqa: S311 - as above
        stack.enter_context(poller.polling())
        yield Scene(name, on_kafka, other, on_kafka, pushed, (polled, poller), distrusted, moods)
        on_kafka.stop()
        assert (elsewhere.pushes, untrusted.pushes) == ([], [])


def _stream(rig: OnKafka, name: str, form: str, events: Sequence[str], url: str = "", subject_name: str = "") -> Stream:
    """A stream of a receiver of its own that hears of the tenant *name*; pushed to *url*, or else polled."""
    receiver = rig.receiver(subject_name or form.replace("_", "-"), tenant=name)
    pushed = {"delivery": push_to(url, authorization_header=SECRET)} if url else {}
    asked = [f"{CAEP}{event}" for event in events]
    made = receiver.create(subject_form=form, events_requested=asked, **pushed)
    stream_id = made["stream_id"]
    return Stream(
        receiver,
        stream_id,
        {jti_of(item, stream_id): item for item in received(name, events)},
    )


def _doors(stream: Stream, *rigs: OnKafka) -> list[tuple[Wire, str, str]]:
    """Where *stream* is polled at each of *rigs*, and where it says that a session was ended."""
    details = stream.receiver.read(stream.stream_id).json["delivery"]["endpoint_url"]
    path = details.removeprefix(stream.receiver.issuer)
    stream.receiver.token()
    return [(rig.wire, f"{rig.issuer}{path}", f"{rig.issuer}/acks") for rig in rigs]
