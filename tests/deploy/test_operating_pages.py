"""Compares the commands of docs/howto/operate with the product: flags, units, files, settings."""

from __future__ import annotations

import fnmatch
import re
from importlib.util import find_spec
from pathlib import PurePosixPath

import pytest

from deploy.__main__ import COMMANDS, command_parser
from deploy.commands.settings import TABLES
from deploy.settings import setting_rows
from tests.support.operating_pages import PAGES, PLACEHOLDER, PageCommand, page_commands
from tests.support.processes import REPOSITORY

FOUND = page_commands()
UNITS = {path.name for path in (REPOSITORY / "deploy/systemd").iterdir()}
INSTALL = (REPOSITORY / "deploy/install.sh").read_text(encoding="utf-8")


def of(*programs: str) -> list[PageCommand]:
    """Return the commands that begin with one of these programs."""
    found = [one for one in FOUND if PurePosixPath(one.words[0]).name in programs]
    assert found, programs
    return found


def towntwin_arguments() -> list[tuple[str, list[str]]]:
    """Return page and arguments of `towntwin`, also where a container or a pod runs it."""
    found = [(one.text, list(one.words[1:])) for one in of("towntwin")]
    for one in of("docker", "kubectl"):
        words = list(one.words)
        if "run" in words and "--entrypoint" not in words:
            service = next(at for at, word in enumerate(words) if at > words.index("run") and word[0] != "-")
            found.append((one.text, words[service + 1 :]))
        inside = words[words.index("--") + 1 :] if "--" in words else []
        if inside[:1] == ["towntwin"]:
            found.append((one.text, inside[1:]))
    return found


@pytest.mark.parametrize(("text", "arguments"), towntwin_arguments())
def test_every_command_of_towntwin_can_be_parsed(
    text: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert arguments[0] in COMMANDS, text
    parser = command_parser(arguments[0])
    words = [word for word in arguments if not word.startswith(("…", "$"))]
    if len(words) == 1 or words in (["backup", "restore"], ["key", "create"]):  # named without its arguments
        words.append("--help")
    given = ["7" if PLACEHOLDER.match(word) else word for word in words]
    try:
        parser.parse_args(given)
    except SystemExit as error:
        if error.code != 0:
            pytest.fail(f"{text}: {capsys.readouterr().err}")


def test_a_key_that_a_page_has_made_has_an_end() -> None:
    """`towntwin doctor --security` lists a key without an end as weak."""
    made = [one for one in towntwin_arguments() if one[1][:2] == ["key", "create"] and len(one[1]) > 2]
    assert len(made) > 3
    assert [text for text, arguments in made if "--days" not in arguments] == []


def test_every_option_of_the_installation_script_exists() -> None:
    options = set(re.findall(r"^    (--[a-z0-9 |-]+)\)", INSTALL, re.MULTILINE))
    known = {one.strip() for line in options for one in line.split("|")}
    for one in of("install.sh"):
        assert {word for word in one.words if word.startswith("--")} <= known, one.text


def test_every_unit_of_the_platform_exists() -> None:
    checked = 0
    for one in of("systemctl", "journalctl"):
        for word in one.words[1:]:
            name = re.sub(r"@[a-z0-9]+", "@", word)
            if name.startswith("towntwin"):
                names = {name, f"{name}.service"}
                assert [unit for unit in UNITS for wanted in names if fnmatch.fnmatch(unit, wanted)], one.text
                checked += 1
    assert checked > 8


def test_every_variable_of_the_pages_is_a_setting() -> None:
    known = {row.variable for process, table in TABLES.items() for row in setting_rows(table, process)}
    # Of the containers' `.env`, and of the environment's owner.
    known |= set(re.findall(r"^(\w+)=", (REPOSITORY / "deploy/.env.example").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`?(?<!…)\b(TOWNTWIN_[A-Z0-9_]+)\b", page.read_text(encoding="utf-8")))
        assert named <= known, page.name


def test_every_file_of_the_project_that_a_page_names_exists() -> None:
    pattern = re.compile(r"(?<![\w/.…-])((?:deploy|tests|docs|requirements)/[\w./-]*\w)")
    for page in PAGES:
        named = set(pattern.findall(page.read_text(encoding="utf-8"))) - {"deploy/.env"}
        assert [one for one in named if not (REPOSITORY / one).exists()] == [], page.name


def test_every_benchmark_module_and_image_of_the_pages_exists() -> None:
    for one in of("make"):
        for word in one.words[1:]:
            name = word.removeprefix("NAME=")
            assert name == word or list((REPOSITORY / "benchmarks").glob(f"{name}*")), one.text
    for one in FOUND:
        if "-m" in one.words[:3] and one.words[0].endswith("python"):
            assert find_spec(one.words[2]) is not None, one.text
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    (loop,) = [one for one in FOUND if one.words[:4] == ("for", "one", "in", "ingest")]
    assert {*loop.words[3:]} == set(re.findall(r"^FROM base AS (\w+)$", dockerfile, re.MULTILINE))


def test_every_page_states_what_was_tried() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8").lower()
        assert re.search(r"\btried\b", text), f"{page.name}: which commands were tried, and on what?"
