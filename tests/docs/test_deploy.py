"""What is under deploy/ is valid by its own rules, listens on loopback, and names only what is there."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from pipeline.metrics.worker import METRICS as WORKER_METRICS
from pipeline.offline.docs.settings_page import table
from pipeline.settings.loading import PREFIX
from pipeline.transmitter.metrics import METRICS as TRANSMITTER_METRICS

METRICS = {**WORKER_METRICS, **TRANSMITTER_METRICS}
ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))

# What the Prometheus client says of every process, and Prometheus of every scrape.
FROM_ELSEWHERE = {"process_resident_memory_bytes", "process_cpu_seconds_total", "up"}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


COMPOSE = _read(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ALERTS = [rule for group in _read(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]
RUNBOOK = (DEPLOY / "README.md").read_text(encoding="utf-8")
UNIT = DEPLOY / "systemd" / "session-risk@.service"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


# --- The compose file ---


def test_the_compose_file_follows_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec/compose-spec.json").read_text(encoding="utf-8"))

    assert [error.message for error in Draft7Validator(schema).iter_errors(COMPOSE)] == []


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_an_image_is_named_with_its_version() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert SERVICES["worker"]["image"] == f"session-risk:{version}"


def test_a_service_that_stays_up_says_whether_it_is_well() -> None:
    stay = {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}

    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == stay
    assert set(SERVICES) - stay == {"topics"}


def test_a_service_waits_for_services_that_exist_and_can_tell() -> None:
    for service in SERVICES.values():
        for name, needed in service.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert SERVICES[name]["restart"] == "no"


def test_our_services_run_without_rights_and_with_settings_that_exist() -> None:
    known = {row.env for row in table()}
    ours = [service for service in SERVICES.values() if service["image"].startswith("session-risk:")]

    assert len(ours) == 2
    for service in ours:
        assert set(service["environment"]) <= known
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_a_folder_that_is_mounted_is_there() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]

    folders = [mount for mount in mounts if mount.startswith(".")]
    assert len(folders) == 3
    assert [folder for folder in folders if not (DEPLOY / folder).is_dir()] == []
    assert {mount for mount in mounts if not mount.startswith(".")} == set(COMPOSE["volumes"])


def test_compose_and_the_runbook_use_only_commands_that_exist() -> None:
    command_line = import_module("pipeline.cli").main

    in_compose = [service["command"] for service in SERVICES.values() if "build" in service]
    pattern = r"session-risk ((?:[a-z]+(?:-[a-z]+)* ?)+)"
    in_runbook = [line.split() for line in re.findall(pattern, "\n".join(_commands()))]
    assert in_runbook
    for words in in_compose + in_runbook:
        _walk(command_line, words)


def _walk(command: Any, words: list[str]) -> None:
    """Follow *words* down the groups of the command line as far as they are commands."""
    for word in words:
        if not hasattr(command, "commands"):
            return
        assert word in command.commands, f"session-risk {' '.join(words)}"
        command = command.commands[word]


def _commands() -> list[str]:
    """Return what the runbook shows as code: its blocks and its spans."""
    blocks = re.findall(r"^```\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`(session-risk [^`]+)`", RUNBOOK)


# --- The image ---


def test_the_image_starts_a_command_that_the_wheel_installs() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(entry) == list(scripts)


def test_the_image_is_built_from_files_that_exist_and_reach_the_build() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }

    sources = [
        word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]

    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(sources) == allowed


def test_the_image_runs_as_nobody_special_and_installs_what_was_tested() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]

    assert "\nUSER session-risk\n" in last
    assert DOCKERFILE.count("pip install") == DOCKERFILE.count("--constraint constraints.txt") == 2


def test_the_image_sets_only_settings_that_exist() -> None:
    assert set(re.findall(PREFIX + r"[A-Z_]+", DOCKERFILE)) <= {row.env for row in table()}


# --- The systemd unit ---


def _unit() -> dict[str, dict[str, list[str]]]:
    """Return the sections of the unit; a name may stand there several times."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = sections.setdefault(header[1], {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return sections


def test_the_unit_restarts_a_worker_and_gives_it_as_long_to_stop_as_compose_does() -> None:
    service = _unit()["Service"]

    assert service["Restart"] == ["always"]
    assert [f"{seconds}s" for seconds in service["TimeoutStopSec"]] == [SERVICES["worker"]["stop_grace_period"]]


def test_the_unit_sets_only_settings_that_exist_and_each_instance_has_its_own_port_and_folder() -> None:
    own = dict(line.split("=", 1) for line in _unit()["Service"]["Environment"])

    named = {name for name in own if name.startswith(PREFIX)}
    assert named <= {row.env for row in table()}
    assert {name for name in named if "%i" in own[name]} == named == {f"{PREFIX}METRICS_PORT", f"{PREFIX}DATA_DIR"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "session-risk@9464.service"
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8")), encoding="utf-8")

    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)

    # Releases before 254 do not know how to lengthen the pause.
    complaints = [line for line in done.stderr.splitlines() if not re.search(r"RestartSteps|RestartMaxDelaySec", line)]
    assert (done.returncode, complaints) == (0, [])


# --- Alerts and dashboards ---


def _promtool(*arguments: str) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not installed; on Debian: apt-get install prometheus"
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_alerts() -> None:
    _promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    stories = [case for test in _read(PROMETHEUS / "alerts_test.yml")["tests"] for case in test["alert_rule_test"]]

    assert {case["alertname"] for case in stories if case["exp_alerts"]} == {rule["alert"] for rule in ALERTS}
    _promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))


def test_every_alert_has_its_section_in_the_runbook_and_a_sentence() -> None:
    sections = re.findall(r"^### ([A-Z]\w+)$", RUNBOOK, re.MULTILINE)

    assert sections == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"deploy/README.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"critical", "warning"}


def _panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in ALERTS},
    **{f"{where} {target['refId']}": target["expr"] for where, panel in _panels() for target in panel["targets"]},
}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_a_query_asks_only_for_metrics_and_labels_that_exist(where: str) -> None:
    samples = {name: row for row in METRICS.values() for name in row.exposed()}
    expression = EXPRESSIONS[where]

    named = set(re.findall(r"\b(?:session_risk_|process_)\w+|\bup\b", expression))
    assert named
    assert named <= set(samples) | FROM_ELSEWHERE

    labels = {label for name in named if name in samples for label in samples[name].labels}
    asked = {word for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for word in words.split(", ")}
    asked |= set(re.findall(r"(\w+)=~?\"", expression))
    assert asked <= labels | {"le", "instance", "job"}


def test_a_label_value_in_a_query_is_one_that_is_counted() -> None:
    for where, expression in EXPRESSIONS.items():
        for name, label, value in re.findall(r"(session_risk_\w+)\{(\w+)=\"([^\"]+)\"\}", expression):
            known = METRICS[name].labels[label]
            assert value in known or not known, where


def test_every_query_of_a_dashboard_is_one_that_prometheus_understands(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{number}", "expr": re.sub(r"\$__(rate_interval|range)", "5m", expression)}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")

    _promtool("check", "rules", str(path))


def test_every_metric_is_shown_or_alerted_on_and_no_old_name_of_one() -> None:
    text = "\n".join(EXPRESSIONS.values())
    shown = {row.name for row in METRICS.values() if any(name in text for name in row.exposed())}

    assert {row.name for row in METRICS.values() if not row.replaced_by} == shown


def test_a_panel_says_what_it_shows_and_stands_beside_the_others() -> None:
    places: set[tuple[str, int, int]] = set()
    for where, panel in _panels():
        at = panel["gridPos"]
        cells = {
            (where.split(":")[0], x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert panel["description"].endswith("."), where
        assert at["x"] + at["w"] <= 24, where
        assert not places & cells, where
        places |= cells


def test_the_dashboards_are_provisioned_with_the_source_they_ask() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = _read(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    (provider,) = _read(provisioning / "dashboards" / "session-risk.yaml")["providers"]

    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert {panel["datasource"]["uid"] for _, panel in _panels()} == {source["uid"]}
    assert [path.stem for path in DASHBOARDS] == ["operations", "soc", "transmitter"]
    assert len({json.loads(path.read_text(encoding="utf-8"))["uid"] for path in DASHBOARDS}) == 3
