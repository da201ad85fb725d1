"""Tests that each change by a command is audited, without its secret arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.__main__ import main
from ingest_service.storage.postgres.migrate import migration_names
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SITE = """
[[areas]]
area_id = "t1"
level = "town"
en = "Town"
zh = "镇"
"""
SECOND_SITE = """
[[sites]]
site_id = "r1"
area_id = "t1"
kind = "river_section"
en = "Bridge"
zh = "桥"
lon = 120.52
lat = 30.60
quantities = ["ph"]
"""


def test_migrating_and_enrolling_are_lines(
    empty_plain_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "my town.toml"
    second = tmp_path / "second.toml"
    site.write_text(SITE)
    assert [main(["db", "migrate", "--dsn", empty_plain_dsn]) for _ in range(2)] == [0, 0]
    assert main(["enrol", str(site), "--dsn", empty_plain_dsn]) == 0
    assert main(["enrol", str(tmp_path / "none.toml"), "--dsn", empty_plain_dsn]) == 2
    assert "none.toml" in capsys.readouterr().err
    second.write_text(SECOND_SITE)
    assert main(["enrol", str(second), "--dsn", empty_plain_dsn]) == 0, (
        "its area is enrolled, and not in the file"
    )
    second.write_text(SECOND_SITE.replace("t1", "t9"))
    assert main(["enrol", str(second), "--dsn", empty_plain_dsn]) == 2
    assert "name one that exists (t1)" in capsys.readouterr().err
    store = PostgresStore.open(empty_plain_dsn)
    try:
        assert audited_actions(store, "") == [
            ("db migrate", " ".join(migration_names())),
            ("enrol", f"files='{site}'"),
            ("enrol", f"files={second}"),
        ]
    finally:
        store.close()
