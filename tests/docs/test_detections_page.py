"""The catalogue: every detection told in full, on the command line and on a page that follows the code."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from pipeline import cli
from pipeline.decisions.policy import fitted, parse_policy, read_policy
from pipeline.detections import BIT, DETECTION_IDS, DETECTIONS, Detection
from pipeline.offline.docs import detections_page
from pipeline.offline.docs.generate import DETECTIONS_PAGE


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["detections", *arguments])


def test_the_page_follows_the_code() -> None:
    assert DETECTIONS_PAGE.read_text("utf-8") == detections_page.markdown(), "run `make docs`"


def test_the_page_has_a_section_for_every_detection() -> None:
    page = DETECTIONS_PAGE.read_text("utf-8")

    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(DETECTION_IDS)


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_snippet_is_a_policy_that_changes_nothing_yet(rule: Detection) -> None:
    policy = parse_policy(detections_page.snippet(rule), defaults=fitted())

    assert list(parse_policy(detections_page.snippet(rule)).detections) == [rule.id]
    assert policy.weights() == read_policy(None).weights()
    assert policy.limits() == read_policy(None).limits()


def test_the_list_names_every_detection_with_what_it_leads_to() -> None:
    done = run()

    assert done.exit_code == 0
    heads = [line.split()[:3] for line in done.stdout.splitlines() if line[:1].isalpha()][1:]
    assert [head[0] for head in heads] == list(DETECTION_IDS)
    levels = {head[0]: head[1] for head in heads}
    asked = ("device_rooted", "tor_network", "patch_stale")
    assert [levels[number] for number in asked] == ["HIGH", "MEDIUM", "LOW"]


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_one_detection_is_told_in_full(rule: Detection) -> None:
    done = run(rule.id)

    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert text.startswith(f"{rule.id} {rule.text}")
    parts = (
        *rule.attack,
        *rule.agent_threats,
        *rule.needs,
        *rule.references,
        rule.user_text,
        rule.clearing,
        rule.known_false_positives,
    )
    assert [part for part in parts if part not in text] == []
    assert done.stdout.endswith(detections_page.snippet(rule) + "\n")


def test_a_program_reads_the_same() -> None:
    every, result = run("--json"), run("mfa_fatigue", "--json")

    assert json.loads(every.stdout) == detections_page.entries()
    assert json.loads(result.stdout) == {
        "id": "mfa_fatigue",
        "text": "A prompt was approved after a burst of denied prompts.",
        "user_text": DETECTIONS[BIT["mfa_fatigue"]].user_text,
        "severity": "HIGH",
        "weight": fitted()["detections"]["mfa_fatigue"]["weight"],
        "alone": {"level": "HIGH", "score": detections_page.alone(DETECTIONS[BIT["mfa_fatigue"]])[1]},
        "counts_for": "while it holds, and 60 minutes longer",
        "is_fact": True,
        "asks": "",
        "cleared_by_step_up": False,
        "clearing": DETECTIONS[BIT["mfa_fatigue"]].clearing,
        "attack": {"version": "20.0", "techniques": ["T1621"]},
        "agent_threats": [],
        "references": ["NIST CSF 2.0 DE.CM-03", "NIST CSF 2.0 PR.AA-03"],
        "needs": ["auth-events.action"],
        "told_by": "",
        "normal": "≤ 3 denials",
        "limits": {"denials": 3.0},
        "learning": "none",
        "known_false_positives": "a person who is learning to use a new phone",
        "policy": detections_page.snippet(DETECTIONS[BIT["mfa_fatigue"]]),
    }


def test_threats_to_agents_are_said_with_who_defines_them() -> None:
    result = run("agent_for_risky_user", "--json")

    assert json.loads(result.stdout)["agent_threats"] == [
        {
            "framework": "MITRE ATLAS",
            "version": "2026.09",
            "id": "AML.T0091.000",
            "name": "Use Alternate Authentication Material: Application Access Token",
        },
        {
            "framework": "OWASP Top 10 for Agentic Applications",
            "version": "2026",
            "id": "ASI03",
            "name": "Identity and Privilege Abuse",
        },
    ]


@pytest.mark.parametrize(
    ("word", "instead"),
    [("mfa_fatig", "do you mean mfa_fatigue"), ("xyz", "`session-risk detections` lists them")],
)
def test_an_unknown_detection_is_said_with_what_to_do(word: str, instead: str) -> None:
    done = run(word)

    assert done.exit_code == 2
    assert f"no detection is called '{word}'; {instead}" in done.stderr


def test_a_context_and_a_learning_period_are_told_where_there_is_one() -> None:
    fields = {entry["id"]: entry for entry in detections_page.entries()}

    assert fields["posture_downgraded"]["told_by"].startswith("the device context: within the hour")
    assert fields["factor_reset_new_device"]["told_by"].startswith("the principal context: ")
    assert "principal's devices" in fields["new_device_privileged"]["learning"]
    assert fields["step_up_missed"]["counts_for"] == "from then on"
    assert fields["posture_downgraded"]["asks"] == "alone only after 5 minutes, in which a fleet may follow"
