"""Tests the alerts for Prometheus: metrics exist, texts are complete, and promtool accepts them."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import httpx
import yaml

from deploy.debian_servers.installation import InstallationError
from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.embedded.server_environment import free_port
from tests.support import not_tested, promtool
from tests.support.processes import REPOSITORY, wait_until

FOLDER = REPOSITORY / "deploy/prometheus"
RULES = FOLDER / "towntwin.rules.yml"
OF_A_HISTOGRAM = re.compile("_(bucket|count|sum)$")


def alerts() -> list[dict[str, object]]:
    document = yaml.safe_load(RULES.read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_metric_of_the_alerts_is_documented() -> None:
    page = (REPOSITORY / "docs/metrics.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    used = {name for one in alerts() for name in re.findall(r"towntwin_\w+", str(one["expr"]))}
    assert len(used) > 10
    assert {OF_A_HISTOGRAM.sub("", name) for name in used} - documented == set()


def test_every_alert_has_both_languages_and_a_page() -> None:
    for one in alerts():
        annotations = one["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["summary"].isascii(), one
        assert not re.search("[A-Za-z{]", annotations["summary_zh"]), one
        assert (REPOSITORY / annotations["page"]).is_file(), one


def test_promtool_accepts_the_alerts_and_they_fire_as_described() -> None:
    try:
        program = promtool.provide()
    except InstallationError as error:
        not_tested.skip(f"the alerts for Prometheus: {error}")
    for arguments in (["check", "rules", RULES.name], ["test", "rules", "towntwin.rules.test.yml"]):
        done = subprocess.run(
            [program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60.0
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_prometheus_server_loads_the_alerts_by_the_configuration_of_the_page(tmp_path: Path) -> None:
    try:
        program = promtool.provide("prometheus")
    except InstallationError as error:
        not_tested.skip(f"the alerts in a Prometheus server: {error}")
    page = (REPOSITORY / "docs/howto/operate/logs-and-metrics.md").read_text("utf-8")
    blocks = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
    configuration = next(textwrap.dedent(one) for one in blocks if "rule_files" in one)
    for path, content in {
        "/etc/towntwin/tls/ca.crt": CertificateAuthority.create("town").certificate_pem,
        "/etc/prometheus/towntwin.key": b"no key",
        "/etc/prometheus/towntwin.rules.yml": RULES.read_bytes(),
    }.items():
        file = tmp_path / Path(path).name
        file.write_bytes(content)
        assert path in configuration
        configuration = configuration.replace(path, str(file))
    configuration = re.sub(r"127.0.0.1:\d+", f"127.0.0.1:{free_port()}", configuration)
    (tmp_path / "prometheus.yml").write_text(f"global: {{evaluation_interval: 1s}}\n{configuration}")
    address = f"127.0.0.1:{free_port()}"
    flags = {
        "config.file": tmp_path / "prometheus.yml",
        "storage.tsdb.path": tmp_path / "data",
        "web.listen-address": address,
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in flags.items())],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    states: dict[str, str] = {}

    def all_evaluated() -> bool:
        assert server.poll() is None, (tmp_path / "log").read_text()
        try:
            groups = httpx.get(f"http://{address}/api/v1/rules", timeout=5).json()["data"]["groups"]
        except (httpx.HTTPError, ValueError):
            return False
        rules = [rule for group in groups for rule in group["rules"]]
        states.update({one["name"]: one["state"] for one in rules})
        return bool(rules) and all(one["health"] == "ok" for one in rules)

    try:
        wait_until(all_evaluated, within_s=30.0, what="each rule is evaluated without an error")
        wait_until(
            lambda: all_evaluated() and states["TowntwinIngestIsAway"] == "pending",
            within_s=30.0,
            what="an alert on ingest, which nobody serves, is pending",
        )
    finally:
        server.terminate()
        server.wait(10.0)
    assert set(states) == {one["alert"] for one in alerts()}
