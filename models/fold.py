"""The fold: a chunk of events into the state of their sessions, and how each looked after every event.

This is the join: auth events, API calls and context meet in one row. The answer for an event never depends on
how the stream was cut into chunks; ``tests/test_fold.py`` holds it against a slow reference, event by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import features
from models.baseline import follow_baseline, keep_peaks
from models.client import ClientView, follow_client
from models.columns import ACTION, PRINCIPAL_KIND, Batch, Kind
from models.device_facts import follow_device, follow_network, follow_principal, follow_signals
from models.distinct import first_seen
from models.features import HALF_LIVES, SUM_NAMES, SUMS, Floats
from models.roles import Roles
from models.rolling import Ints, Segments, fading_sums, largest_so_far, last_where
from models.sequence import follow_roles
from models.state import Rows, SessionTable, gather, scatter

Marks = dict[str, NDArray[Any]]
_AGENT: Final = PRINCIPAL_KIND["agent"]
TOOLS_SETTLE_MS: Final = 300_000
"""A session's tools of its first five minutes are its own, later ones are new."""
_HALF_LIFE_OF: Final = np.array([HALF_LIVES.index(one.half_life) for one in SUMS])
_PER_MS: Final = -1.0 / np.array(HALF_LIVES)


def among(*actions: str) -> NDArray[np.bool_]:
    """A table to look up in whether an action's number is one of *actions*."""
    table = np.zeros(len(ACTION) + 1, np.bool_)
    table[[ACTION[name] for name in actions]] = True
    return table


_FAILURES: Final = among("sign_in_failed", "mfa_denied")
_STRONG: Final = among("sign_in", "mfa_passed", "step_up_passed")
_FACTOR: Final = among("mfa_passed", "step_up_passed")
_CREDENTIAL: Final = among("credential_added", "credential_changed", "credential_removed")


@dataclass(slots=True)
class Folded:
    """What a chunk did, event by event, sorted by session (:class:`models.rolling.Segments`).

    Attributes:
        batch: the chunk in order of arrival.
        seg: how it falls into sessions; ``seg.keys`` are the rows of the table.
        at: the session's largest event time after each event, ms, ``(n,)``.
        previous_at: the same before the event, ``(n,)``.
        facts: sums and facts by name, each ``(n,)``.
        values: every feature, ``(len(FEATURES), n)``, in its own unit.
        before: the rows as they were before the chunk, ``(u,)``.
    """

    batch: Batch
    seg: Segments
    at: Ints
    previous_at: Ints
    facts: dict[str, NDArray[Any]]
    values: Floats
    before: Rows


def fold(table: SessionTable, seg: Segments, batch: Batch, roles: Roles | None = None) -> Folded:
    """Fold *batch* into *table*; a batch of ticks looks at the sessions at a later time and changes nothing.

    Args:
        table: state of one partition; its rows are updated in place.
        seg: ``segments`` of the events' rows.
        batch: the events, none of them folded before.
        roles: of the model in force; without them no call is surprising.
    """
    before = gather(table.rows, seg.keys)
    after = before.copy()
    at = largest_so_far(batch.at[seg.order], before["seen_at"], seg)
    previous_at = _one_earlier(at, before["seen_at"], seg)
    facts: dict[str, NDArray[Any]] = {"at": at}
    marks: Marks = {}
    client = follow_client(batch, seg, before, after)
    facts |= client.facts
    _mark_client(marks, client, batch)
    facts |= follow_device(batch, seg, at, facts["bound"], before, after)
    facts |= follow_principal(batch, seg, before, after)
    facts |= follow_network(batch, seg, before, after)
    facts |= follow_signals(batch, seg, before, after)
    facts |= follow_baseline(batch, seg, before, after)
    _mark_auth(marks, facts, batch, seg, at, before, after)
    _mark_calls(marks, facts, batch, seg, at, before, after)
    facts |= follow_roles(roles, batch, seg, facts["kind"], before, after)
    marks |= {mark: facts[mark] for mark in ("surprise", "rare") if mark in facts}
    sums = _sums(marks, batch, seg, at, previous_at, before)
    facts |= dict(zip(SUM_NAMES, sums.T, strict=True))
    facts["session_age"] = (at - before["started_at"][seg.of]).astype(np.float64)
    after["sums"] = sums[seg.lasts]
    keep_peaks(batch, sums, seg, before, after)
    after["seen_at"] = at[seg.lasts]
    facts |= _events(batch, seg)
    if batch.kind is not Kind.TICK:
        scatter(table.rows, seg.keys, after)
    return Folded(batch, seg, at, previous_at, facts, features.matrix(facts, len(batch)), before)


def _events(batch: Batch, seg: Segments) -> dict[str, NDArray[Any]]:
    """What sort of event each is, for rules that ask."""
    nothing = np.zeros(len(batch), np.bool_)
    everything = ~nothing
    columns, order = batch.columns, seg.order
    stage = np.where(columns["failed"], 0, columns["stage"])[order] if batch.kind is Kind.CALL else nothing
    return {
        "stage": stage,
        "by_sim": columns["by_sim"][order] if batch.kind is Kind.AUTH else nothing,
        "powerful": columns["powerful"][order] if batch.kind is Kind.AUTH else nothing,
        "calling": everything if batch.kind is Kind.CALL else nothing,
        "fallen": batch.columns["fallen"][seg.order] if batch.kind is Kind.CONTEXT else nothing,
        "confirmed": batch.columns["confirmed"][seg.order] if batch.kind is Kind.VERDICT else nothing,
    }


def _one_earlier(at: Ints, before: Ints, seg: Segments) -> Ints:
    earlier = np.empty_like(at)
    earlier[1:] = at[:-1]
    earlier[seg.starts] = before
    return earlier


def _mark_client(marks: Marks, client: ClientView, batch: Batch) -> None:
    if batch.kind not in (Kind.AUTH, Kind.CALL):
        return
    for mark in ("network_changed", "client_changed", "token_changed", "key_changed"):
        marks[mark] = client.facts[mark]


def _mark_auth(
    marks: Marks,
    facts: dict[str, NDArray[Any]],
    batch: Batch,
    seg: Segments,
    at: Ints,
    before: Rows,
    after: Rows,
) -> None:
    """Failures, denials, credential changes; when a factor was last proved."""
    strong_at = np.maximum(before["strong_at"], 0)[seg.of]
    action = np.zeros(len(batch), np.int8)
    if batch.kind is Kind.AUTH:
        action = batch.columns["action"][seg.order]
        marks["auth_failed"] = _FAILURES[action]
        marks["mfa_denied"] = action == ACTION["mfa_denied"]
        marks["credential_changed"] = _CREDENTIAL[action]
        proved = np.where(_STRONG[action], batch.at[seg.order], 0)
        strong_at = largest_so_far(proved, before["strong_at"], seg)
        after["strong_at"] = strong_at[seg.lasts]
    facts["action"] = action
    facts["signed_in"] = strong_at > 0
    facts["proved"] = _follow_proof(facts["action"], batch, seg, before, after)
    _follow_refreshes(facts, batch, seg, at, before, after)
    since = np.where(strong_at > 0, strong_at, before["started_at"][seg.of])
    facts["strong_age"] = np.maximum(at - since, 0).astype(np.float64)


def _follow_proof(
    action: NDArray[np.int8], batch: Batch, seg: Segments, before: Rows, after: Rows
) -> NDArray[np.bool_]:
    """Whether a factor was proved in the session besides its sign-in."""
    proved: NDArray[np.bool_] = before["proved"][seg.of] != 0
    if batch.kind is Kind.AUTH:
        proved |= last_where(_FACTOR[action], seg) >= 0
        after["proved"] = proved[seg.lasts]
    return proved


def _follow_refreshes(
    facts: dict[str, NDArray[Any]], batch: Batch, seg: Segments, at: Ints, before: Rows, after: Rows
) -> None:
    """When a refresh token last gave a token, ms (0: never), and seconds since then or since the start."""
    refreshed_at = before["refreshed_at"][seg.of]
    if batch.kind is Kind.AUTH:
        refreshed = np.where(facts["action"] == ACTION["token_refreshed"], batch.at[seg.order], 0)
        refreshed_at = largest_so_far(refreshed, before["refreshed_at"], seg)
        after["refreshed_at"] = refreshed_at[seg.lasts]
    facts["refreshed_at"] = refreshed_at
    since = np.where(refreshed_at > 0, refreshed_at, before["started_at"][seg.of])
    facts["since_refresh_s"] = np.maximum(at - since, 0) / 1000


def _mark_calls(
    marks: Marks,
    facts: dict[str, NDArray[Any]],
    batch: Batch,
    seg: Segments,
    at: Ints,
    before: Rows,
    after: Rows,
) -> None:
    """What calls add, and what of it the session had not done before."""
    call = (
        {name: column[seg.order] for name, column in batch.columns.items()} if batch.kind is Kind.CALL else {}
    )
    novel = first_seen(call, seg, at, before, after)
    if not call:
        facts |= dict.fromkeys(("reaching", "tool_denied"), np.zeros(len(batch), np.bool_))
        return
    facts["reaching"] = call["guarded"] & novel["operation"] | novel["tool"] & (facts["kind"] == _AGENT)
    facts["tool_denied"] = (call["tool"] != 0) & call["denied"]
    sensitive = call["sensitive"]
    stage = call["stage"]
    settled = at - before["started_at"][seg.of] >= TOOLS_SETTLE_MS
    marks |= {
        "call": np.ones(len(batch)),
        "error": call["failed"],
        "denied": call["denied"],
        "bytes_out": call["bytes_out"],
        "records": call["records"],
        "sensitive_records": call["records"] * sensitive,
        "sensitive_call": sensitive,
        "write": call["writing"],
        "tool_call": call["tool"] != 0,
        "new_operation": novel["operation"],
        "new_address": novel["address"],
        "new_resource": novel["resource"],
        "new_tool": novel["tool"] & settled,
        "created": (stage == 1) & ~call["failed"],
        "granted": (stage == 2) & ~call["failed"],
        "blinded": (stage == 3) & ~call["failed"],
        "refused_new": call["refused"] & (novel["operation"] | novel["resource"]),
    }


def _sums(marks: Marks, batch: Batch, seg: Segments, at: Ints, previous_at: Ints, before: Rows) -> Floats:
    """All fading sums after every event, ``(n, k)``; a late event adds what would be left of it by now."""
    weights = np.zeros((len(batch), len(SUMS)))
    for column, one in enumerate(SUMS):
        if one.mark in marks:
            weights[:, column] = marks[one.mark]
    late = (at - batch.at[seg.order]).astype(np.float64)
    if late.any():
        weights *= np.exp2(late * _PER_MS[:, None])[_HALF_LIFE_OF].T
    keep = np.exp2((at - previous_at).astype(np.float64) * _PER_MS[:, None])
    return fading_sums(weights, keep[_HALF_LIFE_OF].T, before["sums"], seg)
