"""Tests `towntwin setup`: a dialogue in a terminal, and without one by flags and a file."""

from __future__ import annotations

import io
import itertools
import os
import platform
import pty
import re
import select
import subprocess
import sys
import time
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pyte
import zxingcpp

from deploy.__main__ import main
from deploy.first_setup.answers import QUESTIONS
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.enrolments import EnrolmentStore
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.asgi import send_request
from tests.support.gateway_access import gateway_app
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

TOWN = "330483-d1"
ROBOT = "https://oapi.dingtalk.com/robot/send?access_token=a1b2"
LATIN_WORDS = re.compile(r"[A-Za-z]{2,}")
PAGE = "operate/install.md"
END_OF_INPUT = "\x04"  # Ctrl-D


def run_in_terminal(
    arguments: Sequence[str], folder: Path, lines: Sequence[tuple[str, str]], *, exit_code: int = 0
) -> str:
    """Run `towntwin` in a pseudo-terminal, type a line after each expected text, and return all output."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", *arguments],
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "LANG": "C.UTF-8", "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
    )
    os.close(terminal)
    output, begin, waiting = "", 0, list(lines)
    received = b""
    ends_s = time.monotonic() + 60
    try:
        while time.monotonic() < ends_s:
            if not select.select([controller], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(controller, 4096)
            except OSError:  # the process has closed the terminal
                break
            received += part
            output = received.decode(errors="ignore")
            if waiting and waiting[0][0] in output[begin:]:
                begin = len(output)
                line = waiting.pop(0)[1]
                os.write(controller, (line if line == END_OF_INPUT else line + "\n").encode())
        assert process.wait(30) == exit_code, output
    finally:
        process.kill()
        process.wait()
        os.close(controller)
    assert not waiting, output
    return output


def decode_qr_codes(output: str, *, ground: int) -> list[str]:
    """Return the texts of the QR codes that a terminal shows, read as from a photo of its screen.

    Parameters
    ----------
    output : what was written to the terminal
    ground : brightness of the terminal's own ground, 0 to 255; its own texts have the opposite

    """
    screen = pyte.Screen(120, 120)
    pyte.Stream(screen).feed(output)
    brightness = {"default": 255 - ground, "000000": 0, "ffffff": 255}
    picture = np.full((240, 120), ground, np.uint8)
    for y, x in itertools.product(range(120), range(120)):
        cell = screen.buffer[y][x]
        background = ground if cell.bg == "default" else brightness[cell.bg]
        picture[2 * y, x] = brightness[cell.fg] if cell.data in "▀█" else background
        picture[2 * y + 1, x] = brightness[cell.fg] if cell.data in "▄█" else background
    photo = np.kron(picture, np.ones((6, 6), np.uint8))
    return [one.text for one in zxingcpp.read_barcodes(photo, try_invert=False)]


def test_a_dialogue_in_chinese_sets_the_first_town_up(plain_dsn: str, tmp_path: Path) -> None:
    typed = {
        "county": "３３０４８３",  # as an input method types them
        "county_zh": "桐乡市",
        "town_zh": "乌镇",
        "site_zh": "西桥断面",
        "site_en": 'West "old" bridge\'s \\ weir',
        "lon": "１２０．４９",
        "lat": "30.75",
        "administrator": "王芳",
        "messenger": "dingtalk",
        "messenger_address": ROBOT,
        "messenger_signature": "SEC1",
    }
    lines = [("1 中文", "1")]
    lines += [(QUESTIONS[0].zh, "12"), (QUESTIONS[0].zh, "993300")]  # a wrong code is asked for again
    lines += [(one.zh, typed.get(one.name, "")) for one in QUESTIONS]
    (tmp_path / "secrets").mkdir()
    arguments = ["setup", "--dsn", plain_dsn, "--secrets-folder", str(tmp_path / "secrets")]
    output = run_in_terminal(arguments, tmp_path, lines)
    assert "“12”不是县级代码" in output
    assert "“993300”不是县级代码" in output
    assert ROBOT not in output
    (code,) = re.findall(r"https://\S+#tte_\w+", output)
    for ground in (0, 255):
        assert decode_qr_codes(output, ground=ground) == [code]
    assert f"控制台：https://{platform.node()}:8443" in output
    assert (tmp_path / "secrets" / TOWN / "duty-group-url").read_text().strip() == ROBOT
    site_file = (tmp_path / f"{TOWN}.toml").read_text()
    assert main(["enrol", str(tmp_path / f"{TOWN}.toml"), "--dry-run", "--dsn", plain_dsn]) == 0, site_file
    (site,) = tomllib.loads(site_file)["sites"]
    assert (site["en"], site["lon"]) == (typed["site_en"], 120.49)
    for prompt in (one.zh for one in QUESTIONS):
        prose = re.sub(r"（[^）]*）", "", prompt)
        assert not LATIN_WORDS.search(prose), prompt


def test_without_a_terminal_flags_and_a_file_are_enough(
    plain_dsn: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (tmp_path / "address").write_text(ROBOT + "\n")
    (tmp_path / "signature").write_text("SEC1\n")
    (answers,) = howto_pages.code_blocks(PAGE, "toml")
    (tmp_path / "answers.toml").write_text(answers)
    command = ["setup", "--dsn", plain_dsn, "--language", "en", "--site-folder", str(tmp_path)]
    command += ["--secrets-folder", str(secrets), "--answers", str(tmp_path / "answers.toml")]
    command += ["--messenger", "dingtalk"]
    files = [f"--messenger-address-file={tmp_path / 'address'}"]
    files += [f"--messenger-signature-file={tmp_path / 'signature'}"]

    assert main(command) == 2
    assert "--messenger-address" in capfd.readouterr().err
    assert main([*command, *files, "--lon", "200"]) == 2
    assert "--lon: '200' is no number from -180 to 180" in capfd.readouterr().err
    assert not (tmp_path / f"{TOWN}.toml").exists()

    secrets.rmdir()  # a run that fails after the device has its password, and is repeated
    assert main([*command, *files]) == 2
    assert f"{secrets / TOWN}: can't be written" in capfd.readouterr().err
    given = (tmp_path / "wz-01.password").read_text()
    secrets.mkdir()

    assert main([*command, *files]) == 0
    output = capfd.readouterr().out
    assert (tmp_path / "wz-01.password").read_text() == given
    store = PostgresStore.open(plain_dsn)
    key = re.search(r"tt_\w+", output)
    assert key is not None
    (stored,) = ApiKeyStore(store).keys_in_areas(None)
    assert stored.expires_s is not None, "a key that never ends is a weakness"
    sites = send_request(gateway_app(store, accounts=None), "GET", "/v1/sites", headers={"X-API-Key": key[0]})
    assert [one["site_id"] for one in sites.json()] == ["wz-west"]
    directory = store.directory()
    assert {(one.area_id, one.parent) for one in directory.areas} >= {(TOWN, "330483"), ("330483", None)}
    assert {one.quantity for one in directory.series} == {"ph", "dissolved_oxygen"}
    (pending,) = EnrolmentStore(store).pending()
    password = tmp_path / "wz-01.password"
    assert (pending.device_id, pending.password) == ("wz-01", password.read_text().strip())
    assert password.stat().st_mode & 0o777 == 0o600
    (code,) = EnrolmentStore(store).codes()
    assert f"https://twin.example.org/#tte_{code.code_id}_" in output
    (channel,) = NotificationStore(store).channels()
    assert (channel.kind, channel.sign_secret, channel.url) == ("dingtalk", "duty-group-sign", None)
    assert (secrets / TOWN / "duty-group-sign").read_text() == "SEC1\n"
    assert ROBOT not in output
    audited = [one for one in ApiKeyStore(store).audit(AuditQuery()) if one.action == "setup"]
    assert [one.target for one in audited] == [f"{TOWN} wz-west wz-01"]

    assert main([*command, *files]) == 2
    assert "the town is set up" in capfd.readouterr().err
    assert main([*command, *files, "--language", "zh"]) == 2
    assert "该乡镇已完成设置" in capfd.readouterr().err
    assert main([*command, *files, "--town", "330483-d2", "--site", "py-1"]) == 2
    assert f"--device: wz-01 is in {TOWN} already" in capfd.readouterr().err
    assert main(["setup", "--dsn", plain_dsn, "--language", "zh"]) == 2
    assert "没有终端时须给出 --county" in capfd.readouterr().err
    store.close()


def test_a_terminal_that_closes_ends_the_dialogue_with_a_sentence(plain_dsn: str, tmp_path: Path) -> None:
    lines = [("1 中文", "1"), (QUESTIONS[0].zh, "330483"), (QUESTIONS[1].zh, END_OF_INPUT)]
    output = run_in_terminal(["setup", "--dsn", plain_dsn], tmp_path, lines, exit_code=2)
    assert "未写入任何内容" in output
    assert "Traceback" not in output
