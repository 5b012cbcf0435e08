"""Kinds of program that a user agent names, of which a session keeps the one it began with."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events.columns import Columns
from models.events.user_agents import BACKEND, BROWSER, HANDSET, LIBRARY, TOOL, UNKNOWN, software_of
from models.state.segments import segments
from models.state.table import SessionTable, Subject
from models.updates.fold import fold
from tests.support.histories import CHROME, MOBILE, PHONE_APP
from tests.support.samples import call

AGENTS = [
    (None, UNKNOWN),
    ("", UNKNOWN),
    ("Slack/4.41", UNKNOWN),
    (CHROME, BROWSER),
    ("Firefox/140", BROWSER),
    (MOBILE, BROWSER + HANDSET),
    ("python-requests/2.32.3", BACKEND),
    ("CURL/8.5.0", TOOL),
    ("Go-http-client/2.0", BACKEND),
    ("Java/17.0.2", BACKEND),
    ("Mozilla/5.0 (X11; Linux) HeadlessChrome/139.0 Safari/537.36", TOOL),
    ("Mozilla/5.0 (Windows NT; Windows NT 10.0) WindowsPowerShell/5.1", TOOL),
    ("okhttp/4.12.0", LIBRARY),
    ("Dalvik/2.1.0 (Linux; U; Android 14)", LIBRARY + HANDSET),
    (PHONE_APP, LIBRARY + HANDSET),
    ("HandsetAssistant/4.2 (Android 15; on-device agent)", UNKNOWN + HANDSET),
]


@pytest.mark.parametrize(("agent", "kind"), AGENTS)
def test_a_user_agent_names_a_kind_of_program(agent: str | None, kind: int) -> None:
    assert software_of(agent) == kind


SEEN = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([a for a, _ in AGENTS])), min_size=1)


@given(SEEN, st.sets(st.integers(1, 20)))
@settings(max_examples=100)
def test_a_session_keeps_the_kind_it_began_with_however_the_stream_is_cut(
    seen: list[tuple[str, str | None]], cuts: set[int]
) -> None:
    table, columns = SessionTable(), Columns(bytes(16))
    rows = {name: table.add(Subject("default", name)) for name in "abc"}
    began: dict[str, int] = {}
    for _, group in groupby(enumerate(seen), lambda row: sum(cut <= row[0] for cut in cuts)):
        chunk = [pair for _, pair in group]
        batch = columns.calls([call(at, user_agent=agent) for at, (_, agent) in enumerate(chunk)])
        seg = segments(np.array([rows[name] for name, _ in chunk]))
        folded = fold(table, seg, batch)
        array1_d = np.empty(len(chunk), np.int64)
        array1_d[seg.order] = folded.facts["began_as"]
        for (name, agent), answer in zip(chunk, array1_d.tolist(), strict=True):
            began[name] = began.get(name) or software_of(agent)
            assert answer == began[name]
