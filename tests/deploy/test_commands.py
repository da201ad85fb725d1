"""Tests that the command line starts fast: a command imports only the modules that it needs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import command_resources
from deploy.__main__ import COMMANDS, command_parser, main
from deploy.embedded.server_environment import free_port
from deploy.up import folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).parents[2]
NUMBERS = {"numpy", "scipy", "numba", "pandas", "polars", "pyarrow", "matplotlib"}
SERVERS = {"fastapi", "jinja2", "uvicorn", "shapely", "httpx"}
DATABASE = {"psycopg", "psycopg_pool"}
LOGS = {"structlog", "rich", "asyncio", "prometheus_client"}
STORE = "ingest_service.storage.postgres"
CALL = """
import json, sys
from deploy.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def python(program: str, *arguments: str) -> list[str]:
    """The lines that a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def imported_by(*modules: str) -> set[str]:
    """The top-level packages that some modules bring along."""
    imports = "".join(f"import {one}\n" for one in modules)
    names = 'print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))'
    return set(json.loads(python(f"import json, sys\n{imports}{names}")[-1]))


def test_a_process_has_one_thread_of_blas() -> None:
    """Threads of BLAS that waited for one another took 26 of the 29 s of a forecast's training."""
    program = """
import os
os.environ.pop("OPENBLAS_NUM_THREADS", None)
import deploy
import numpy as np
np.ones((600, 600)) @ np.ones((600, 600))
print(len(os.listdir("/proc/self/task")))
"""
    assert python(program) == ["1"]


def first_lines(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_help_of_towntwin_imports_no_heavy_module_and_lists_every_command() -> None:
    *shown, modules = python(CALL, "--help")
    assert not (NUMBERS | SERVERS | DATABASE | LOGS | {"paho"}) & set(json.loads(modules))
    text = first_lines(shown)
    imports = "".join(
        f"import deploy.commands.{name} as one; print(one.__doc__.partition('\\n')[0])\n" for name in COMMANDS
    )
    for name, docstring in zip(COMMANDS, python(imports), strict=True):
        assert f"{name} {docstring}" in text, "the help text is the module's first line"


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"replay", "settings", "key"}))
def test_help_of_a_command_imports_no_heavy_module_and_shows_its_flags(command: str) -> None:
    *shown, modules = python(CALL, command, "--help")
    assert not (NUMBERS | SERVERS | DATABASE | LOGS) & set(json.loads(modules))
    assert "--dsn" in first_lines(shown)
    assert "--statement-timeout-s" in first_lines(shown)


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (
            [
                "deploy.logging_setup",
                "deploy.command_resources",
                "deploy.commands.edge",
                "edge.agent.agent",
                "edge.drivers.line_driver",
            ],
            NUMBERS | SERVERS | DATABASE | {"prometheus_client"},
        ),
        (
            ["deploy.commands.ingest", "deploy.logging_setup", "ingest_service.pipeline.process", STORE],
            SERVERS | (NUMBERS - {"numpy"}),
        ),
        (
            ["deploy.commands.service", "deploy.logging_setup", "analytics.service.process", STORE],
            (SERVERS - {"shapely"}) | (NUMBERS - {"numpy", "scipy"}),  # sites lie in grid cells
        ),
        (
            ["deploy.commands.gateway", "deploy.logging_setup", "gateway.server", STORE],
            {"numba", "matplotlib", "pandas", "pyarrow", "jwt", "cryptography"},
        ),
    ],
    ids=["edge", "ingest", "service", "gateway"],
)
def test_a_process_imports_nothing_that_it_does_not_need(modules: list[str], unwanted: set[str]) -> None:
    assert not unwanted & imported_by(*modules)


def test_the_compiled_judge_is_loaded_without_its_compiler_and_judges_small_blocks_before() -> None:
    """The compiler's library, 70 MB, came into memory for loading alone, at each start."""
    shown = python(
        "import sys; import numpy as np\n"
        "from analytics.quality.compiled_judge_loader import CompiledJudgeLoader\n"
        "one = CompiledJudgeLoader(); print(one.use_compiled(np.zeros(3, np.intp)))\n"
        "one.start(); print(one.use_compiled(np.zeros(1000, np.intp)))\n"
        "from analytics.core.compiled.kernel_cache import HAS_MACHINE_CODE\n"
        "print(HAS_MACHINE_CODE and 'llvmlite' in sys.modules)"
    )
    assert [one for one in shown if one in {"True", "False"}] == ["False", "True", "False"]


def test_where_the_compiler_is_needed_it_does_not_stay_in_memory() -> None:
    """Nor is scipy imported; and compiling works after the release of its pages."""
    shown = python(
        "import sys\n"
        "from analytics.quality import compiled_judge_loader, library_pages\n"
        "with compiled_judge_loader._without_blas():\n"
        "    from numba import njit; print(njit(lambda x: x > 1)(2))\n"
        "print('scipy.linalg' in sys.modules)\n"
        "library_pages.release_unchanged_pages(compiled_judge_loader.COMPILER_LIBRARY)\n"
        "mappings = open('/proc/self/smaps').read().split('libllvmlite')[1:]\n"
        "resident_kb = sum(int(one.split('Rss:')[1].split()[0]) for one in mappings)\n"
        "print(0 < resident_kb < 15_000); print(njit(lambda x: x > 1)(2))"
    )
    assert [one for one in shown if one in {"True", "False"}] == ["True", "False", "True", "True"]


def test_ingest_collects_garbage_while_it_waits_for_its_database() -> None:
    """Each attempt leaves some 20 KB of it: a gigabyte a day."""
    shown = python(
        "import gc, os, signal, sys, threading, time\n"
        "from deploy.__main__ import main\n"
        "def watch():\n"
        "    end_s = time.monotonic() + 60\n"
        "    while not (gc.get_freeze_count() and gc.isenabled()) and time.monotonic() < end_s:\n"
        "        time.sleep(0.1)\n"
        "    print(gc.isenabled(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "main(sys.argv[1:])",
        *("ingest", "--dsn", f"postgresql://user@127.0.0.1:{free_port()}/name"),
        *("--broker", f"mqtt://127.0.0.1:{free_port()}"),
    )
    assert "True" in shown


@pytest.mark.parametrize(("area", "device"), [("a/b", "s"), ("a", "s+"), ("#", "s"), ("a", "s\n")])
def test_a_server_has_no_id_that_a_topic_can_not_hold(
    area: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["hj212"], ["edge"]):
        flags = ["--area", area, "--device", device, "--broker", "mqtt://127.0.0.1:1"]
        assert main([*command, *flags]) == 2
        assert "can't stand in a topic: use letters, digits" in capsys.readouterr().err


def test_a_port_of_metrics_that_is_in_use_is_a_sentence(tmp_path: Path) -> None:
    """Two processes of one installation with the same port: the second one ended with a traceback."""
    stations = tmp_path / "stations.toml"
    stations.write_text(
        '[[stations]]\nstation = "010000A8900016F000169DC0"\narea = "330483-d1"\ndevice = "hj-01"\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        flags = ["--stations", str(stations), "--spool", str(tmp_path / "spool"), "--metrics-port", port]
        command = [sys.executable, "-m", "deploy", "hj212", "serve", "--broker", "mqtt://127.0.0.1:1", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "another program has the port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_up_on_the_same_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "spool" / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("a reading")
    command = [sys.executable, "-m", "deploy", "up", "--for", "1", "--port", str(free_port())]
    with folder_lock.hold_folder(tmp_path):
        done = subprocess.run(
            [*command, "--folder", str(tmp_path)], capture_output=True, text=True, check=False, cwd=REPOSITORY
        )
    assert done.returncode == 2
    assert "used by another `towntwin up`" in done.stderr
    assert "--folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert kept.read_text() == "a reading"


def test_a_lock_file_that_a_killed_up_left_behind_locks_nothing(tmp_path: Path) -> None:
    holder = "from pathlib import Path; from deploy.up import folder_lock; import os, signal\n"
    holder += f"with folder_lock.hold_folder(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", holder], check=False, cwd=REPOSITORY)
    assert done.returncode == -9
    assert (tmp_path / folder_lock.LOCK_FILE).read_text()
    with folder_lock.hold_folder(tmp_path):
        pass


PROBE = ("probe", "calibrate", "s1", "ph", "--who", "w", "--reference", "7", "--before", "7")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("probe", "begin", "d", "--who", "w", "--minutes", "0.5"), "'0.5' is no number from 1 to 43,200"),
        (("probe", "begin", "d", "--who", "w", "--minutes", "nan"), "'nan' is no number from 1 to 43,200"),
        (("probe", "begin", "d", "--who", "w", "--minutes", "1e9"), "'1e9' is no number from 1 to 43,200"),
        (("probe", "begin", "d", "--who", "w", "--note", "x" * 2001), "it has 2001 characters"),
        (("probe", "begin", "d", "--who", ""), "it has 0 characters"),
        ((*PROBE, "--after", "inf"), "'inf' is no number from -1,000,000,000 to 1,000,000,000"),
        ((*PROBE, "--after", "7", "--tolerance", "0"), "'0' is no number from 1e-09"),
        (("feedback", str(2**63), "confirmed", "--who", "w"), "is no whole number from 1 to"),
        (("feedback", "1", "confirmed", "--who", "w", "--note", "x" * 2001), "it has 2001 characters"),
        (("letters", "show", "-1"), "'-1' is no whole number from 1 to"),
        (("letters", "show", str(2**63)), "is no whole number from 1 to"),
        (("letters", "list", "--limit", "0"), "'0' is no whole number from 1 to 100,000"),
        (("letters", "purge", "--older-than-days", "nan"), "'nan' is no number from 0 to 36,525"),
        (("letters", "purge", "--older-than-days", "1e300"), "'1e300' is no number from 0 to 36,525"),
        (("enrol", "--code", "a", "--hours", "0.05"), "'0.05' is no number from 0.1 to 2,160"),
        (("enrol", "--code", "a", "--hours", "inf"), "'inf' is no number from 0.1 to 2,160"),
        (("enrol", "--code", "a", "--devices", "1001"), "'1001' is no whole number from 1 to 1,000"),
        (("key", "create", "--name", "x" * 201), "it has 201 characters: give 1 to 200"),
    ],
)
def test_commands_have_the_bounds_of_the_api(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values that the API refuses reached the database, which answered with its own error, or took them."""
    with pytest.raises(SystemExit) as ended:
        command_parser(arguments[0]).parse_args(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_command_ends_where_the_database_stays_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_resources, "COMMAND_WAIT_S", 0.1)
    away = f"postgresql://127.0.0.1:{free_port()}/towntwin"
    assert main(["key", "list", "--dsn", away]) == 1
    assert "towntwin: the database: " in capsys.readouterr().err
