"""Tests the settings: each is documented; an invalid one is named and gives exit code 2."""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import __main__ as command_line
from deploy.__main__ import COMMANDS
from deploy.commands.settings import TABLES, page
from deploy.settings import SettingsError, load_settings, setting_rows
from ingest_service.pipeline.settings import Settings

REPOSITORY = Path(__file__).parents[2]


def test_the_page_is_the_table() -> None:
    assert (REPOSITORY / "docs/settings.md").read_text() == page(), (
        "run: towntwin settings > docs/settings.md"
    )


def _documented_flags(pages: list[Path]) -> set[str]:
    return {flag for page in pages for flag in re.findall(r"--[a-z][a-z0-9-]*", page.read_text("utf-8"))}


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the long options of a parser and of its subcommands, without ``--help``."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _flags(one)
        yield from (one for one in action.option_strings if one.startswith("--") and one != "--help")


def test_every_flag_of_every_command_is_on_a_page() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    documented = _documented_flags(pages)
    assert {
        command: missing
        for command in COMMANDS
        if (missing := {*_flags(command_line.command_parser(command))} - documented)
    } == {}


def test_the_flags_of_up_are_explained_outside_of_the_table_of_settings() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    explained = _documented_flags(
        [one for one in pages if one.name != "settings.md" and "decisions" not in one.parts]
    )
    of_gateway = {row.flag for row in setting_rows(TABLES["gateway"], "gateway")} - {"--port"}
    common = {
        row.flag for row in [*setting_rows(TABLES[None], None), *setting_rows(TABLES["storage"], "storage")]
    }
    assert {*_flags(command_line.command_parser("up"))} - of_gateway - common <= explained


@pytest.mark.parametrize("process", TABLES)
def test_every_setting_has_a_sentence_and_numbers_have_units(process: str | None) -> None:
    for row in setting_rows(TABLES[process], process):
        assert row.sentence.endswith("."), row
        if row.name.endswith(("_s", "_bytes", "_days")):
            assert row.unit, row


def test_flags_go_before_the_environment() -> None:
    args = argparse.Namespace(ingest__shard="flag", ingest__areas=None)
    environ = {"TOWNTWIN_INGEST_SHARD": "environment", "TOWNTWIN_INGEST_AREAS": "a, b"}
    settings = load_settings(Settings, "ingest", args, environ)
    assert (settings.shard, settings.areas) == ("flag", ["a", "b"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("BATCH_MESSAGES", "many"), ("BATCH_MESSAGES", "0"), ("SHARD", "Not Good"), ("AREAS", "")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    variable = f"TOWNTWIN_INGEST_{name}"
    with pytest.raises(SettingsError, match=variable):
        load_settings(Settings, "ingest", argparse.Namespace(), {variable: value})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ingest", "--receive-maximum", "0"], "--receive-maximum"),
        (["ingest", "--broker", "http://x"], "TOWNTWIN_BROKER"),
        (["service"], "TOWNTWIN_DSN"),
        (["up", "--replay", "nowhere.csv"], "--mapping"),
    ],
)
def test_a_wrong_call_ends_with_two_and_one_sentence(arguments: list[str], named: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
