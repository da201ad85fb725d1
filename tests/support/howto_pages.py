"""Extracts the commands of docs/howto and runs them against a test's gateway."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from tests.support import not_tested
from tests.support.processes import REPOSITORY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

WRITTEN_ADDRESS = "http://127.0.0.1:8080"


def code_blocks(page: str, language: str) -> list[str]:
    """Return the fenced code blocks of a page in a language."""
    text = (REPOSITORY / "docs/howto" / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def curl_lines(page: str) -> list[str]:
    """Return the indented lines of a page that begin with curl."""
    text = (REPOSITORY / "docs/howto" / page).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.startswith("    curl")]


def indented_commands(page: str, program: str) -> list[str]:
    """Return the indented commands of a page that begin with a program, with all their lines."""
    text = (REPOSITORY / "docs/howto" / page).read_text("utf-8")
    found = []
    for block in re.findall(r"(?m)(?:^    .*\n)+", text):
        lines = re.sub(r"(?m)^    ", "", block)
        found += re.split(rf"(?m)^(?={program} )", lines)[1:]
    return found


def start_command(command: str, address: str, *, key: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command of a page; a refusal by the gateway is an error of curl."""
    bash = shutil.which("bash")
    assert bash is not None
    if shutil.which("curl") is None:
        not_tested.skip_always("the commands of docs/howto: curl is missing")
    program = command.replace(WRITTEN_ADDRESS, address).replace("curl ", "curl --fail-with-body ")
    return subprocess.Popen(
        [bash, "-euo", "pipefail", "-c", program],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"KEY": key},
    )


def run_command(command: str, address: str, *, key: str, folder: Path) -> str:
    """Run a command of a page, which has to succeed; return what it prints."""
    with start_command(command, address, key=key, folder=folder) as running:
        out, err = running.communicate()
    assert running.returncode == 0, (command, out, err)
    return out


@contextmanager
def serve_app(app: FastAPI) -> Iterator[str]:
    """Serve an application while the context lasts; yield its URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started, within_s=30, what="the gateway listens")
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def example(name: str, *arguments: str, **environment: str) -> str:
    """Run a program of ``examples/``, which has to succeed; return what it prints."""
    finished = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {key.upper(): value for key, value in environment.items()},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
