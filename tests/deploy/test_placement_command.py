"""Tests that the command of the placement of sensors writes its report, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import demo
from deploy.__main__ import main
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_placement_is_written_as_a_report_in_the_chosen_language(
    plain_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["db", "migrate", "--dsn", plain_dsn])
    store = PostgresStore.open(plain_dsn)
    store.enrol(demo.directory())
    store.close()
    monkeypatch.setenv("TOWNTWIN_DSN", plain_dsn)
    command = ["twin", "placement", "--sensors", "2"]
    assert main([*command, "--out", str(tmp_path / "report.docx")]) == 2
    assert "let its name end in .pdf or .html" in capsys.readouterr().err
    out = tmp_path / "report.html"
    assert main([*command, "--language", "en", "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    page = out.read_text("utf-8")
    assert "Recommended places, in the order of the list: 2" in page
    assert page.count("<img ") == 2
