"""Tests `towntwin up --sites` from a user's view: output, other commands, answers and recovery."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import psutil
import psycopg
import pytest

from deploy.up import state_file
from deploy.up.servers import GATEWAY_LOGIN
from tests.support import howto_pages
from tests.support.processes import REPOSITORY, PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = ("--area", "330483-d1", "--device", "wz-01")
WITHIN_S = 90.0


class FirstHourTown:
    """A running `up` with the site file of docs/howto/connect-a-device.md, and commands that find it."""

    def __init__(self, folder: Path) -> None:
        (site_file,) = howto_pages.code_blocks("connect-a-device.md", "toml")
        (folder / "town.toml").write_text(site_file, "utf-8")
        self.folder = folder
        self.log = folder / "up.log"
        flags = ("--sites", str(folder / "town.toml"), "--folder", str(folder), "--ports", "free")
        self.up = PlatformProcess("up", *flags, log=self.log)

    def command(self, *arguments: str, stdin_text: str = "") -> tuple[int, str, str]:
        """Run a command that is given no address; its exit code, standard output and error."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOWNTWIN_")}
        done = subprocess.run(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=REPOSITORY,
            env={**environ, "TOWNTWIN_FOLDER": str(self.folder)},
            input=stdin_text,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        return done.returncode, done.stdout, done.stderr

    def edge(self, *packs: list[dict[str, object]], device: tuple[str, ...] = DEVICE) -> tuple[int, str]:
        """Pipe packs into `towntwin edge`; its exit code and standard error."""
        stdin_text = "".join(json.dumps(one) + "\n" for one in packs)
        spool = ("--spool", str(self.folder / f"{device[-1]}.spool"))
        code, _, errors = self.command("edge", *device, *spool, stdin_text=stdin_text)
        return code, errors

    def printed(self) -> str:
        """What `up` printed so far."""
        return self.log.read_text()

    def prints(self, words: str, *, times: int = 1) -> None:
        """Wait until it printed some words."""
        wait_until(lambda: self.printed().count(words) >= times, within_s=WITHIN_S, what=words)


def kill(name: str, port: int) -> None:
    """SIGKILL the embedded server that listens on a port."""
    (pid,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid
    }
    assert name in " ".join(psutil.Process(pid).cmdline())
    psutil.Process(pid).kill()


def enrol_second_device(town: FirstHourTown, found: state_file.UpState) -> None:
    """Enrol a device by a code, whose gateway has the rights of its database role alone."""
    code, text, errors = town.command("enrol", "--code", DEVICE[1], "--url", found.gateway)
    assert code == 0, errors
    (key,) = re.findall(r"^key: (tt_\S+)$", town.printed(), re.MULTILINE)
    url = f"{found.gateway}/v1/enrolments"
    with httpx.Client(headers={"X-API-Key": key}, timeout=30) as client:
        body = {"code": text.strip(), "area": DEVICE[1], "device": "wz-02", "credential": "password"}
        proposed = client.post(url, json=body | {"channels": [{"name": "t", "unit": "Cel"}]}).json()
        channel = {"name": "t", "site": DEVICE[3], "quantity": "water_temperature"}
        decision = {"decision": "confirm", "channels": [channel]}
        decided = client.post(f"{url}/{proposed['enrolment_id']}/decision", json=decision)
        assert decided.status_code == 200, decided.text
        path = f"{url}/{proposed['enrolment_id']}/collect"
        collected = client.post(path, json={"token": proposed["token"]}).json()
    assert (collected["access"], collected["broker"]) == ("open", found.broker)


@pytest.mark.timeout(300)
def test_up_is_found_answers_mistakes_and_starts_its_servers_again(open_folder: Path) -> None:
    town = FirstHourTown(open_folder)
    with running_processes(town.up):
        town.prints("console: ")
        found = state_file.find_running_up(open_folder)
        assert found is not None
        assert stat.S_IMODE((open_folder / state_file.STATE_FILE).stat().st_mode) == 0o600
        for line in (
            f"broker, MQTT 5: {found.broker}",
            f"broker, MQTT 3.1.1: {found.broker_old}",
            "broker access: none: any client may publish as any device",
            "database: postgresql://postgres:***@127.0.0.1:",
        ):
            town.prints(line)

        now_s = time.time()
        code, errors = town.edge([{"n": "ph", "v": 7.4, "t": now_s}])
        assert code == 0, errors
        assert f"using the running `towntwin up` (process {found.pid}" in errors

        with psycopg.connect(found.dsn) as connection:
            users = connection.execute(
                "SELECT DISTINCT usename FROM pg_stat_activity WHERE backend_type = %s"
                " AND application_name LIKE 'towntwin%%'",
                ("client backend",),
            ).fetchall()
            (may,) = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (GATEWAY_LOGIN,))
        assert sorted(users) == [("postgres",), (GATEWAY_LOGIN,)]
        assert may == (False,), "no statement of the gateway leaves the scope of its key"

        # mistakes looked like success on the device
        code, errors = town.edge([{"n": "pH", "v": 7.4, "t": now_s}], [{"n": "ph", "v": 7.5, "t": now_s + 1}])
        assert code == 1
        assert "was refused by the platform (channel): " in errors
        assert "1 messages were refused by the platform" in errors
        code, errors = town.edge([{"n": "ph", "v": 7.4}], device=(*DEVICE[:3], "wz-1"))
        assert (code, "(device): device 'wz-1' is not enrolled" in errors) == (1, True), errors
        code, printed, _ = town.command("letters", "list")
        assert (code, printed.count("/data")) == (0, 2)

        enrol_second_device(town, found)

        for name, url, expected_text in (
            ("postgres", found.dsn, "the embedded PostgreSQL runs again"),
            ("serve_broker", found.broker, "the embedded MQTT broker runs again"),
        ):
            kill(name, int(url.rpartition(":")[2].partition("/")[0]))
            town.prints(expected_text)
        assert state_file.find_running_up(open_folder) == found, "on the same ports"
        code, errors = town.edge([{"n": "ph", "v": 7.6, "t": now_s + 2}])
        assert code == 0, errors
        wait_until(lambda: town.command("doctor")[0] == 0, within_s=WITHIN_S, what="all is well again")
        _, printed, _ = town.command("doctor")
        assert " 3 readings" in printed, "what was stored before is there"
        assert town.up.stop() == 0
    assert not (open_folder / state_file.STATE_FILE).exists()
    assert "none named" in town.command("doctor")[1]
