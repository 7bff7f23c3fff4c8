"""The files a team deploys with: valid, complete, free of secrets, and speaking of nothing that does not exist."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import schema
from infra.clock import new_id, now
from infra.database import open_database, writing
from infra.settings import load
from monitoring import metrics as watcher_metrics
from service.metrics import Metrics as ServiceMetrics

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"
RULES = ROOT / "infra/prometheus/rules.yml"
DASHBOARD = ROOT / "infra/grafana/dashboards/kedge.json"

WANTED = {"service", "runner", "prefect", "postgres", "objects", "prometheus", "alertmanager", "grafana", "console"}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_the_compose_file_follows_the_compose_specification() -> None:
    # The schema comes with the package: nothing is downloaded.
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is in the dev extra")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_team_gets_every_part() -> None:
    assert set(services()) == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_part_has_a_healthcheck_or_says_what_watches_it(name: str) -> None:
    part = services()[name]

    assert ("healthcheck" in part) != bool(part.get("x-no-healthcheck")), name


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_image_is_pinned_to_a_version(name: str) -> None:
    image = services()[name]["image"]

    version = image.rpartition(":")[2]

    assert re.fullmatch(r"v?\d+(\.\d+)*", version), f"{image} is not pinned"


def test_our_own_images_are_built_from_targets_that_the_dockerfile_has() -> None:
    text = (ROOT / "infra/docker/Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))

    wanted = {part["build"]["target"] for part in services().values() if "build" in part}

    assert wanted == {"serving", "runner"}
    assert wanted <= targets
    # What answers requests must not drag training behind it.
    serving = text[text.index("AS serving-build") : text.index("AS runner-build")]
    assert '".[serve,postgres]"' in serving


def test_no_secret_stands_in_the_files_and_every_variable_is_explained() -> None:
    text = COMPOSE.read_text()
    example = (ROOT / ".env.example").read_text()

    for name, value in re.findall(r"^\s+(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*): *(.+)$", text, re.MULTILINE):
        assert value.startswith("${"), f"{name} has its value in the file"
    wanted = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"^\s+environment: ([A-Z_]+)$", text, re.MULTILINE))
    explained = set(re.findall(r"^(?:# )?(\w+)=", example, re.MULTILINE))
    assert wanted == explained
    # The example holds names, never values that somebody might keep.
    assert re.findall(r"^\w+=.+$", example, re.MULTILINE) == []


def test_only_the_service_can_be_let_out_of_this_machine() -> None:
    for name, part in services().items():
        for published in part.get("ports", []):
            expected = "${SERVICE_ADDRESS:-127.0.0.1}:" if name == "service" else "127.0.0.1:"
            assert published.startswith(expected), f"{name} is published as {published}"


def test_the_teams_settings_are_settings_and_meet_the_compose_file(tmp_path: Path) -> None:
    (tmp_path / "kedge.toml").write_text((ROOT / "infra/docker/kedge.toml").read_text())

    settings = load(tmp_path, {})

    assert settings.storage.database == "postgresql+psycopg://kedge@postgres/kedge"
    assert settings.storage.objects == "s3://kedge"
    assert "-bucket=kedge" in services()["objects"]["command"]
    assert settings.storage.s3_endpoint == "http://objects:8333"
    assert settings.prefect.api_url == "http://prefect:4200/api"
    for name, port in (("service", settings.serve.port), ("console", settings.console.port)):
        assert services()[name]["ports"][0].endswith(f":{port}")
    # The token is asked for, and comes from the environment alone.
    assert settings.serve.token == ""
    assert "KEDGE_SERVE__TOKEN" in services()["service"]["environment"]


def test_modules_that_the_containers_start_exist() -> None:
    for part in services().values():
        command = part.get("command", [])
        if command[:2] == ["python", "-m"]:
            path = ROOT / command[2].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), command[2]


def test_the_dashboard_and_the_alerts_ask_only_for_metrics_that_somebody_answers(tmp_path: Path) -> None:
    asked = {name for expression in (*dashboard_expressions(), *rule_expressions()) for name in names_in(expression)}

    answered = names_of_service(tmp_path) | names_of_watcher(tmp_path)

    assert len(asked) > 15
    assert asked - answered == set()


def test_prometheus_accepts_the_rules_and_they_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")

    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        checked = subprocess.run([promtool, *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    rules = [{"record": f"panel_{number}", "expr": text} for number, text in enumerate(dashboard_expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_the_one_that_grafana_is_told_to_show() -> None:
    provider = yaml.safe_load((ROOT / "infra/grafana/provisioning/dashboards/kedge.yml").read_text())["providers"][0]
    source = yaml.safe_load((ROOT / "infra/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ][0]
    dashboard = json.loads(DASHBOARD.read_text())

    mounts = [volume.split(":") for volume in services()["grafana"]["volumes"]]

    assert ["./infra/grafana/dashboards", provider["options"]["path"], "ro"] in mounts
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"}
    assert used == {source["uid"]}


def dashboard_expressions() -> list[str]:
    """Every query of the dashboard, Grafana's own variables replaced."""
    document = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in document["panels"] for target in panel.get("targets", [])]
    found += [entry["expr"] for entry in document["annotations"]["list"] if "expr" in entry]
    return [text.replace("$__rate_interval", "1m") for text in found]


def rule_expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bkedge_\w+", re.sub(r'"[^"]*"', "", expression)))


def names_of_service(folder: Path) -> set[str]:
    counted = ServiceMetrics(folder, ["/v1/predict"])
    counted.request("/v1/predict", 200, 0.01)
    counted.labels(1, 0)
    return sample_names(counted.page())


def names_of_watcher(folder: Path) -> set[str]:
    """What the watcher's page says once everything has happened at least once."""
    settings = load(folder, {})
    name = settings.project.name
    engine = open_database(settings.storage.database)
    at = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    detector = {"lane": "gross", "detector": "embedding", "log10_evidence": 1.0, "log10_threshold": 5.2}
    summary = {
        "atypical": {"embedding": 0.1},
        "signals": [{"family": "embedding", "name": "distance", "effect": 0.2}],
        "evidence": [detector],
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
        "labelled": 20,
        "estimate": {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}, "valid": True},
        "origin": {"embedding": 0.1},
        "p_value": 0.5,
        "faults": [{"kind": "blank", "source": "A", "share": 0.1}],
    }
    window = {"name": name, "sequence": 1, "model_version": 1, "started_at": at, "ended_at": at, "predictions": 200}
    verdict = {"name": name, "sequence": 1, "at": at, "model_version": 1, "action": "nothing", "reasons": []}
    pointer = {"name": name, "alias": "champion", "version": 1, "changed_at": at, "sequence": 1}
    alarm = {"id": new_id(), "name": name, "at": at, "lane": "gross", "detector": "embedding", "facts": {}}
    with writing(engine) as connection:
        connection.execute(schema.windows.insert().values(**window, summary=summary))
        connection.execute(schema.verdicts.insert().values(**verdict, evidence={}))
        connection.execute(schema.pointers.insert().values(**pointer))
        connection.execute(schema.alarms.insert().values(**alarm))
        connection.execute(schema.heartbeats.insert().values(process="watch", at=now(), pid=1))
    page = watcher_metrics.exposition(engine, settings)
    engine.dispose()
    return sample_names(page)


def sample_names(page: bytes) -> set[str]:
    return set(re.findall(r"^(kedge_\w+)", page.decode(), re.MULTILINE))
