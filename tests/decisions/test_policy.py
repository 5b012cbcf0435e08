"""The policy file: the shipped one equals the built-in one, a mistake gives one line, equal content has one id."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from models.state.table import Subject
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.policy import BadPolicy, Policy, Suppression, fitted, parse_policy, read_policy
from pipeline.detections import BIT, DETECTIONS

SHIPPED = files("pipeline.decisions").joinpath("policy.toml").read_text("utf-8")
WHO = Subject("acme", "s-1", "ana")
QUIET = 'detections = ["mass_read"]\nowner = "soc"\nreason = "export"\n'


# --- the default ------------------------------------------------------------------------------------------


def test_the_file_that_ships_is_what_is_built_in() -> None:
    assert parse_policy("") == Policy()
    assert parse_policy(SHIPPED) == Policy()
    assert parse_policy(SHIPPED).id == Policy().id


def test_fitted_values_are_the_defaults_of_every_policy_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("prior = -3.25\n[detections.mass_read]\nenabled = false\n", encoding="utf-8")

    assert read_policy(None) == parse_policy(SHIPPED, defaults=fitted())
    assert read_policy(mine) == parse_policy(mine.read_text("utf-8"), defaults=fitted())
    assert (read_policy(mine).prior, read_policy(mine).anomaly_weights) == (
        -3.25,
        read_policy(None).anomaly_weights,
    )


def test_the_file_that_ships_and_what_was_fitted_show_every_choice() -> None:
    shipped = read_policy(None).model_fields_set

    assert set(Policy.model_fields) - shipped <= {"detections", "suppressions"}
    for part in ("levels", "guard", "times"):
        value = getattr(read_policy(None), part)
        assert value.model_fields_set == set(type(value).model_fields), part


def test_the_defaults_of_the_brief() -> None:
    policy = Policy()

    assert {
        kind: [policy.action(kind, level) for level in ("LOW", "MEDIUM", "HIGH")]
        for kind in ("human", "service", "api_key", "agent", "")
    } == {
        "human": ["allow", "step_up", "revoke"],
        "service": ["allow", "hold_for_approval", "revoke"],
        "api_key": ["allow", "hold_for_approval", "revoke"],
        "agent": ["allow", "allow", "revoke"],
        "": ["allow", "step_up", "revoke"],
    }


# --- ids --------------------------------------------------------------------------------------------------


def test_the_id_is_the_same_for_the_same_content_in_any_order() -> None:
    read = "[detections.mass_read]\nweight = 5\n[detections.mass_read.limits]\nrecords = 1\n"
    same = "[detections.mass_read]\nlimits = {records = 1}\nweight = 5\n"
    fatigue = "[detections.mfa_fatigue]\nweight = 2\n"
    name, other = f"prior = -3\n{read}{fatigue}", f"prior = -3\n{fatigue}{same}"
    two_limits = "[detections.agent_tool_burst.limits]\n{}\n{}"
    first, second = "calls = 1", "new_tools = 2"

    assert parse_policy(name).id == parse_policy(other).id
    assert parse_policy(two_limits.format(first, second)).id == parse_policy(two_limits.format(second, first)).id


def test_another_content_has_another_id() -> None:
    texts = [
        "",
        'name = "x"',
        'mode = "observe"',
        "prior = -3",
        "[times]\nack_s = 61",
        '[agent]\nmedium = "revoke"',
        "[detections.mass_read]\nweight = 1",
        "[detections.mass_read]\nenabled = false",
        f"[[suppressions]]\n{QUIET}expires_at = 5",
        f"[[suppressions]]\n{QUIET}expires_at = 6",
    ]

    assert len({parse_policy(text).id for text in texts}) == len(texts)


# --- mistakes ---------------------------------------------------------------------------------------------

MISTAKES = [
    ("prior =", "not TOML"),
    ("prior = 1\nprior = 2", "not TOML"),
    ("priro = -4", "priro: a policy has no such key"),
    ("[guard]\nrevocations = 4", "guard.revocations: a policy has no such key"),
    ('prior = "a lot"', "prior"),
    ('prior = "-4"', "prior"),
    ("prior = true", "prior"),
    ("prior = nan", "prior"),
    ("prior = inf", "prior"),
    ('name = ""', "name"),
    ("name = 5", "name"),
    ('mode = "dry"', "mode"),
    ("anomaly_weights = [0.1, 0.2]", "anomaly_weights"),
    ("anomaly_weights = [0.1, 0.2, nan]", "anomaly_weights.2"),
    ("fresh_strong_auth_weight = 0.5", "fresh_strong_auth_weight"),
    ("fresh_strong_auth_s = -1", "fresh_strong_auth_s"),
    ("low_features_share = 1.5", "low_features_share"),
    ("low_features_share = nan", "low_features_share"),
    ("levels = 5", "levels"),
    ("[levels]\nmedium_raise = 90", "levels: .*medium_raise < high_raise"),
    ("[levels]\nhigh_clear = 20", "levels: .*medium_raise <= high_clear"),
    ("[levels]\nhigh_raise = 101", "levels: .*high_raise <= 100"),
    ("[levels]\nmedium_clear = 0", "levels"),
    ("[levels]\ndwell_s = -1", "levels.dwell_s"),
    ("[levels]\nmedium = 1", "levels.medium"),
    ("[human]\nhigh_on_suspicion = 'end'", "human.high_on_suspicion"),
    ("[human]\nmedium = 'block'", "human.medium"),
    ("[robot]\nmedium = 'allow'", "robot"),
    ("[guard]\nrevocations_per_minute = 0", "guard.revocations_per_minute"),
    ("[guard]\nrevocations_per_minute = 1.5", "guard.revocations_per_minute"),
    ("[guard]\nrevocations_per_minute = '600'", "guard.revocations_per_minute"),
    ("[guard]\nsilent_fleet_share = 0", "guard.silent_fleet_share"),
    ("[guard]\nsilent_fleet_share = nan", "guard.silent_fleet_share"),
    ("[guard]\nsilent_intervals = inf", "guard.silent_intervals"),
    ("[times]\nack_s = -5", "times.ack_s"),
    ("[times]\nack_s = 0", "times.ack_s"),
    ("[times]\nidle_s = 1e12", "times.idle_s"),
    ("[times]\nacks_s = 5", "times.acks_s"),
    ("[detections.mass_raed]\nweight = 1", "no detection is called 'mass_raed'; do you mean mass_read"),
    ("[detections.mass_read]\nwieght = 1", "detections.mass_read.wieght"),
    ("[detections.mass_read]\nweight = 'high'", "detections.mass_read.weight"),
    ("[detections.mass_read]\nenabled = 'no'", "detections.mass_read.enabled"),
    ("[detections.mass_read.limits]\nrecord = 1", "mass_read has no limit 'record'; it has records"),
    ("[detections.mass_read.limits]\nrecords = 'many'", "detections.mass_read.limits.records"),
    ("[detections.device_rooted.limits]\nx = 1", "device_rooted has no limit 'x'; it has none"),
    ("detections = ['mass_read']", "detections"),
    ("[[suppressions]]\nreason = 'x'", "suppressions.0.detections"),
    (f"[[suppressions]]\n{QUIET}", "suppressions.0.expires_at"),
    (f"[[suppressions]]\n{QUIET}expires_at = 2026-01-01T00:00:00Z", "suppressions.0.expires_at"),
    (f"[[suppressions]]\n{QUIET}expires_at = 5\nuser = 'x'", "suppressions.0.user"),
    ("[[suppressions]]\n" + QUIET.replace('"mass_read"', "") + "expires_at = 5", "suppressions.0.detections"),
    (f"[[suppressions]]\n{QUIET.replace('mass_read', 'x')}expires_at = 5", "no detection is called 'x'"),
    (f"[[suppressions]]\n{QUIET.replace('export', 'x' * 201)}expires_at = 5", "suppressions.0.reason"),
]


@pytest.mark.parametrize(("text", "place"), MISTAKES, ids=[text.replace("\n", " ") for text, _ in MISTAKES])
def test_a_mistake_is_named_on_one_line(text: str, place: str) -> None:
    with pytest.raises(BadPolicy, match=f"^acme.toml: .*{place}") as refused:
        parse_policy(text, "acme.toml")

    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "\xfc"')

    for path, complaint in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "directory"),
        (latin, "not UTF-8 at byte 8"),
    ):
        with pytest.raises(BadPolicy, match=complaint) as refused:
            read_policy(path)
        assert str(path) in str(refused.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('name = "öwn"\nprior = -5\n', "utf-8")

    policy = read_policy(tmp_path / "own.toml")

    assert policy == parse_policy('name = "öwn"\nprior = -5', defaults=fitted())
    assert policy.id.startswith("öwn@")


# --- what a policy changes --------------------------------------------------------------------------------


def test_weights_and_limits_are_those_of_the_table_unless_changed() -> None:
    policy = parse_policy(
        "[detections.mass_read]\nweight = 1.5\nlimits = {records = 10}\n"
        "[detections.device_rooted]\nenabled = false\nweight = 9"
    )

    weights = {rule.id: weight for rule, weight in zip(DETECTIONS, policy.weights(), strict=True)}
    limits = {rule.id: dict(limit) for rule, limit in zip(DETECTIONS, policy.limits(), strict=True)}

    assert weights == {rule.id: rule.weight for rule in DETECTIONS} | {"mass_read": 1.5, "device_rooted": 0.0}
    table = {rule.id: dict(rule.limits) for rule in DETECTIONS}
    assert limits == table | {"mass_read": table["mass_read"] | {"records": 10.0}}


def test_a_policy_may_name_every_detection() -> None:
    text = "\n".join(f"[detections.{rule_id}]\nweight = 1" for rule_id in BIT)

    assert set(parse_policy(text).weights()) == {1.0}


def test_a_policy_engine_has_the_id_of_its_policy() -> None:
    assert PolicyEngine(Policy()).policy_id == Policy().id


SCOPES = [
    ({}, 9, True),
    ({}, 10, False),
    ({"tenant": "acme"}, 9, True),
    ({"tenant": "zeta"}, 9, False),
    ({"principal_id": "ana", "session_id": "s-1"}, 9, True),
    ({"principal_id": "ana", "session_id": "s-2"}, 9, False),
    ({"device_id": "phone-1"}, 9, False),
]


@pytest.mark.parametrize(("scope", "at", "covered"), SCOPES)
def test_a_suppression_covers_its_scope_until_it_expires(scope: dict[str, str], at: int, covered: bool) -> None:
    suppression = Suppression(detections=["mass_read"], owner="soc", reason="export", expires_at=10, **scope)

    assert suppression.covers(WHO, at) is covered
