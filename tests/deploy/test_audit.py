"""Tests that `make audit` writes the bill of materials offline, and states what it could not look for."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

from deploy.embedded.server_environment import free_port
from tests import audit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_bill_of_materials_has_every_pinned_package_with_hash_and_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreached = f"http://127.0.0.1:{free_port()}/v1/query"
    assert audit.main(["--into", str(tmp_path), "--advisories", unreached]) == audit.NOT_CHECKED
    printed = capsys.readouterr().out
    assert "NOT CHECKED known vulnerabilities" in printed
    assert "FOUND" not in printed
    pinned = set(re.findall(r"^([\w.-]+)==([\w.]+)", audit.PINNED.read_text("utf-8"), re.MULTILINE))
    components = json.loads((tmp_path / "sbom.json").read_text("utf-8"))["components"]
    assert {(one["name"], one["version"]) for one in components} == pinned
    assert all("SHA-256" in json.dumps(one) for one in components)
    table = (tmp_path / "licences.csv").read_text("utf-8").splitlines()
    licences = {row["package"]: row["licence"] for row in csv.DictReader(table)}
    assert licences["psycopg"] == "LGPL-3.0-only"
    assert audit.UNKNOWN not in licences.values()
