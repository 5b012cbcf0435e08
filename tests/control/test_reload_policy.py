"""Reload of the policy file: a changed file is in force if it is valid, an invalid one changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.decisions.policy import BadPolicy, fitted, parse_policy
from tests.support.active_config import Desk, write_policy


def test_a_changed_policy_is_in_force_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write_policy(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)
    before = desk.in_force.active.engine

    desk.look()
    assert desk.in_force.active.engine is before

    write_policy(path, 'name = "two"', at=2)
    desk.look()
    assert desk.in_force.policy == parse_policy('name = "two"', defaults=fitted())
    assert desk.complaints == []


def test_a_policy_of_another_length_is_seen_within_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write_policy(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)

    write_policy(path, 'name = "another"', at=1)
    desk.look()

    assert desk.in_force.policy.name == "another"


@pytest.mark.parametrize("text", ["name = 3", "nonsense", 'prior = "high"', None])
def test_a_bad_policy_is_reported_once_and_the_old_one_stays(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "policy.toml"
    write_policy(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path)

    if text is None:
        path.unlink()
    else:
        write_policy(path, text, at=2)
    desk.look()
    desk.look()

    assert desk.in_force.policy.name == "one"
    (complaint,) = desk.complaints
    assert complaint.startswith(f"the policy stays {desk.in_force.policy.id}: {path}")

    write_policy(path, 'name = "three"', at=3)
    desk.look()
    assert desk.in_force.policy.name == "three"


def test_a_bad_policy_keeps_a_worker_from_beginning(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write_policy(path, "nonsense", at=1)

    with pytest.raises(BadPolicy, match="not TOML"):
        Desk(policy_file=path)


def test_the_mode_of_the_settings_outlives_a_change_of_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write_policy(path, 'name = "one"', at=1)
    desk = Desk(policy_file=path, mode="observe")

    write_policy(path, 'name = "two"\nmode = "enforce"', at=2)
    desk.look()

    assert (desk.in_force.policy.name, desk.in_force.policy.mode) == ("two", "observe")
