"""State of a principal: bounded, kept for a month, the same after a restart and however the stream is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from models.events.columns import FACTOR_CHANGES
from pipeline.contexts.principal.processor import KEEP_MS, MAX_SESSIONS
from tests.support.histories import BERLIN, MUNICH
from tests.support.principals import CAFE, HOME, VPN, principal
from tests.support.run_processors import NOW, Event, by_key, chunks, read
from tests.support.samples import activity


def test_a_worker_that_takes_over_knows_the_same() -> None:
    player, other = principal(), principal()
    player.each(activity(0, **HOME, **BERLIN), activity(5, session_id="s-2", **CAFE), activity(9, kind="ended"))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    nexts = [activity(60, session_id="s-3", **CAFE, **MUNICH), activity(61, session_id="s-2", kind="revoked")]
    assert other.each(*nexts) == player.each(*nexts)
    assert other.rows == player.rows


def test_a_principal_without_sessions_is_forgotten_after_a_month() -> None:
    player = principal()
    late = KEEP_MS / 1000 + 120
    now = NOW + 2 * KEEP_MS
    player.each(activity(0), activity(1, kind="ended"), activity(0, principal_id="bob"), now=now)

    player.play(activity(late, principal_id="eve"), now=now)

    assert sorted(player.rows) == [b"default\xffbob", b"default\xffeve"]


def test_a_principal_fits_into_a_record_whatever_it_does() -> None:
    player = principal()
    wide = "\U0001f600"
    for start in range(0, MAX_SESSIONS + 100, 100):
        player.play(
            *(
                activity(
                    1,
                    session_id=f"{at:06d}" + wide * 122,
                    device_id=f"{at:06d}" + wide * 122,
                    user_agent=chr(0x1F000 + at % 500) + wide * 511,
                    ip=f"2001:db8:{at:x}::1",
                    used=[f"scope:{at:06d}" + wide * 240],
                )
                for at in range(start, start + 100)
            )
        )
    for at in range(MAX_SESSIONS, MAX_SESSIONS + 100):
        player.play(activity(2, session_id=f"{at:06d}" + wide * 122, kind="revoked"))

    assert max(map(len, player.rows.values())) < 950_000


ACTIVITIES = st.builds(  # with all that a session may tell
    lambda at, session_id, kind, members: activity(at, session_id=session_id, kind=kind, **members),
    st.sampled_from([0, 60, 600, 2 * KEEP_MS / 1000]),
    st.sampled_from(["s-1", "s-2", "s-3"]),
    st.sampled_from(
        [
            "started",
            "client_changed",
            "used",
            "summary",
            "ended",
            "revoked",
            "vouched",
            "device_moved",
            *FACTOR_CHANGES,
        ]
    ),
    st.sampled_from(
        [
            {},
            HOME,
            CAFE,
            VPN,
            {**CAFE, "workload": "ci"},
            {"home_asn": 64500},
            {**HOME, **BERLIN},
            {**CAFE, **MUNICH},
            {"principal_id": "bob"},
        ]
    )
    | st.fixed_dictionaries(
        {
            "used": st.none() | st.just(["scope:read"]) | st.just(["tool:mail", "operation:x"]),
            "peaks": st.none() | st.just({"calls_10m": 7.0}) | st.just({"records_10m": 1.0}),
        }
    ),
)


@given(st.lists(ACTIVITIES, min_size=1, max_size=30), st.sets(st.integers(1, 30)))
@settings(max_examples=80)
def test_where_the_stream_is_cut_changes_no_message(events: list[Event], cuts: set[int]) -> None:
    player, other = principal(), principal()
    player.each(*events, now=NOW + 3 * KEEP_MS)
    for chunk in chunks(events, cuts):
        other.play(*chunk, now=NOW + 3 * KEEP_MS)

    assert by_key(read(other.messages)) == by_key(read(player.messages))
