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


def test_a_source_of_advisories_that_does_not_answer_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_S", 0.01)
    found, reason = audit._vulnerabilities(None)
    assert found == []
    assert "no answer within" in reason, "`main` prints it and ends with `NOT_CHECKED`, as above"


def test_a_package_that_was_skipped_is_not_counted_as_checked() -> None:
    vulnerability = {"id": "PYSEC-2020-1", "fix_versions": ["1.1"]}
    found, reason = audit.known_vulnerabilities(
        [
            {"name": "one", "version": "1.0", "vulns": [vulnerability]},
            {"name": "other", "skip_reason": "not found on the index"},
        ]
    )
    assert found == ["one 1.0: PYSEC-2020-1, fixed in 1.1"]
    assert reason == "1 packages were skipped, other: not found on the index"
