"""Tests the alerts for Prometheus: metrics exist, texts are complete, and promtool accepts them."""

from __future__ import annotations

import re
import subprocess

import yaml

from deploy.debian_servers.installation import InstallationError
from tests.support import not_tested, promtool
from tests.support.processes import REPOSITORY

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
