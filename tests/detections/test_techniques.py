"""The table of techniques: detections name only what it has, it has only what they name, nothing retired is left."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.detections import ATTACK_VERSION, DETECTION_IDS, DETECTIONS, TECHNIQUE, TECHNIQUES, Detection
from pipeline.detections.detection import BY_AGENT
from pipeline.detections.techniques import ATLAS, ENTERPRISE, MOBILE, OWASP_AGENTIC, Technique
from pipeline.sources import SOURCES

ROOT = Path(__file__).parent.parent.parent
REPLACEMENTS = {
    "T1070.001": "T1685.005",
    "T1070.002": "T1685.006",
    "T1562": "T1685",
    "T1562.001": "T1685",
    "T1562.002": "T1685.001",
    "T1562.003": "T1690",
    "T1562.004": "T1686",
    "T1562.006": "T1685",
    "T1562.007": "T1686.001",
    "T1562.008": "T1685.002",
    "T1562.009": "T1688",
    "T1562.010": "T1689",
    "T1562.011": "T1685.003",
    "T1562.012": "T1685.004",
    "T1562.013": "T1686.002",
    "T1656": "T1684.001",
    "T1672": "T1684.002",
}
"""What version 19 of ATT&CK Enterprise retired, and what replaces it (its release notes, under Revocations)."""
SHARED_TACTICS = {
    "Initial Access",
    "Execution",
    "Persistence",
    "Privilege Escalation",
    "Credential Access",
    "Discovery",
    "Lateral Movement",
    "Collection",
    "Command and Control",
    "Exfiltration",
    "Impact",
}
TACTICS = {
    ENTERPRISE: SHARED_TACTICS | {"Reconnaissance", "Resource Development", "Stealth", "Defense Impairment"},
    MOBILE: SHARED_TACTICS | {"Defense Evasion"},
    ATLAS: {"Execution", "Privilege Escalation", "Lateral Movement"},
    OWASP_AGENTIC: set(),
}

every_detection = pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
every_technique = pytest.mark.parametrize("technique", TECHNIQUES, ids=[technique.id for technique in TECHNIQUES])


@every_detection
def test_a_detection_names_techniques_of_attack_that_the_table_has(rule: Detection) -> None:
    assert rule.attack
    assert max(Counter(rule.attack).values()) == 1
    assert [uid for uid in rule.attack if uid not in TECHNIQUE] == []
    assert [uid for uid in rule.attack if TECHNIQUE[uid].framework not in (ENTERPRISE, MOBILE)] == []


@every_detection
def test_a_detection_of_agents_and_no_other_names_threats_to_agents_that_the_table_has(rule: Detection) -> None:
    assert bool(rule.agent_threats) == (BY_AGENT in rule.prefilter)
    assert len(set(rule.agent_threats)) == len(rule.agent_threats)
    assert [uid for uid in rule.agent_threats if uid not in TECHNIQUE] == []
    assert [uid for uid in rule.agent_threats if TECHNIQUE[uid].framework not in (ATLAS, OWASP_AGENTIC)] == []


def test_every_technique_is_named_by_a_detection() -> None:
    named = {uid for rule in DETECTIONS for uid in (*rule.attack, *rule.agent_threats)}

    assert sorted(TECHNIQUE) == sorted(named)
    assert len(TECHNIQUE) == len(TECHNIQUES)


@every_technique
def test_a_technique_is_of_its_framework(technique: Technique) -> None:
    assert re.fullmatch(technique.framework.id_pattern, technique.id)
    assert re.fullmatch(r"[A-Z][^\n]*[a-zA-Z)]", technique.name)
    # A sub-technique of a framework is written after its parent, and nothing else has a parent.
    assert ("." in technique.id.removeprefix("AML.")) == (": " in technique.name)
    assert set(technique.tactics) <= TACTICS[technique.framework]
    assert bool(technique.tactics) == bool(TACTICS[technique.framework])


def test_no_technique_is_one_that_attack_retired() -> None:
    assert ATTACK_VERSION == ENTERPRISE.version == MOBILE.version
    assert sorted(set(TECHNIQUE) & set(REPLACEMENTS)) == []
    gaps = {uid for source in SOURCES.values() for gap in source.gaps for uid in gap.techniques}
    assert sorted(gaps - set(TECHNIQUE)) == []


def test_no_module_page_or_example_names_a_technique_that_attack_retired() -> None:
    retired = re.compile("|".join(rf"{re.escape(uid)}(?![\d.]\d)" for uid in REPLACEMENTS))
    files = [
        path
        for folder in ("models", "pipeline", "schemas", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".json", ".toml", ".yaml", ".yml"}
    ]

    named = {
        str(path.relative_to(ROOT)): retired.findall(path.read_text("utf-8")) for path in [*files, ROOT / "README.md"]
    }

    assert len(files) > 100
    assert {path: found for path, found in named.items() if found} == {}
