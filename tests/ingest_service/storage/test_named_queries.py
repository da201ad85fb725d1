"""Tests the loading of SQL statements by name, and shared fragments."""

from __future__ import annotations

import pytest

from ingest_service.storage.postgres import named_queries


def test_a_part_stands_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "-- part: A part.\nx > 1;\n\n-- more: More.\n{{part}} AND y;\n\n-- all: All.\nSELECT {{more}};\n"
    monkeypatch.setattr(named_queries, "read_sql_file", lambda *_: whole)
    assert named_queries.load_queries("some.sql")["all"] == "SELECT x > 1 AND y"


@pytest.mark.parametrize(
    ("whole", "sentence"),
    [
        (
            "-- one: One.\nSELECT {{two}};\n\n-- two: Two.\n2;\n",
            "one takes 'two', which was not named before",
        ),
        ("-- one: One.\n1;\n\n-- one: Again.\n2;\n", "one stands twice"),
    ],
)
def test_a_name_is_known_and_stands_once(monkeypatch: pytest.MonkeyPatch, whole: str, sentence: str) -> None:
    monkeypatch.setattr(named_queries, "read_sql_file", lambda *_: whole)
    with pytest.raises(ValueError, match=f"some.sql: {sentence}"):
        named_queries.load_queries("some.sql")
