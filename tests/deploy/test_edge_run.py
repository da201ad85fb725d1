"""Tests `towntwin edge run site.toml`: several drivers at once, each durable in the spool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers.exec_driver import parse_output
from edge.drivers.site_drivers import DeviceFileError, read_site_file
from edge.wire import senml
from edge.wire.errors import PayloadError

REPOSITORY = Path(__file__).parents[2]
SITE = """
area = "330483-d1"
device = "wz-01"

[driver.probe]
kind = "exec"
command = ["sh", "-c", "echo ph=7.2 pH; echo level=1.5"]
every_s = 0.2
jitter_s = 0.05

[driver.broken]
kind = "exec"
command = ["sh", "-c", "echo nonsense; exit 3"]
every_s = 0.3

[driver.counter]
kind = "lines"
path = "counter"
"""


def test_several_drivers_run_at_once_and_systemd_is_notified(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    os.mkfifo(tmp_path / "counter")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        options = ["--spool", str(tmp_path / "spool"), "--broker", "mqtt://127.0.0.1:9", "--clock-wait-s=0"]
        with (
            (tmp_path / "stderr").open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "deploy", "edge", "run", str(tmp_path / "site.toml"), *options],
                cwd=REPOSITORY,
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
                stderr=stderr,
            ) as process,
        ):
            assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
            with (tmp_path / "counter").open("wb") as counter:
                counter.write(b'[{"n":"flow","v":12}]\n')
            assert systemd.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 1, "lines were refused"
    spool = Spool.open(tmp_path / "spool", Settings())
    packs = [senml.decode(one.payload, content_type=None, now_s=0) for one in spool.after(0, 1000)]
    spool.close()
    names = [record.name for records in packs for record in records]
    assert names.count("ph") == names.count("level") >= 2
    assert names.count("flow") == 1
    assert "driver broken: sh: exit code 3" in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize("line", [b"ph", b"ph=", b"ph=7,2", b"=7", b"ph=nan", b"a b=7", b"[1]", b"\xff=1"])
def test_output_that_is_no_reading_is_a_sentence(line: bytes) -> None:
    with pytest.raises(PayloadError):
        parse_output(line, 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("area = 1", "area"),
        ('area = "a"\ndevice = "d"\n[driver]\n', "has no driver"),
        ('area = "a/b"\ndevice = "d"\n', "area 'a/b' can't stand in a topic: use letters, digits"),
        ('area = "a"\ndevice = "../d"\n', "device '../d' can't stand in a topic: use letters, digits"),
        ('area = "a"\ndevice = "d"\n[driver.x]\nkind = "modbuss"\n', "modbuss"),
        ('area = "a"\ndevice = "d"\n[driver.x]\nkind = "exec"\ncommand = ["x"]\nevery_s = 0\n', "every_s"),
    ],
)
def test_a_site_file_that_is_wrong_is_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(DeviceFileError, match=words):
        read_site_file(tmp_path / "site.toml")
