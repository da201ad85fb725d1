"""The installation on Debian: units, users and environments agree with `install.sh` and the commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.__main__ import COMMANDS, command_parser
from deploy.box.__main__ import main as prepare_box
from deploy.box.broker_users import ROLE_BY_USER
from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.device_access.server_certificates import CertificateFolder
from tests.support import not_tested
from tests.support.processes import REPOSITORY

SCRIPT = REPOSITORY / "deploy" / "install.sh"
UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))
TIMERS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.timer"))
MAX_EXPOSURE = 3.0
PROGRAM = "/opt/towntwin/bin/towntwin"


def unit_values(path: Path) -> dict[str, list[str]]:
    """Return the values of a unit by name, over all of its sections (no name is in two of them)."""
    values: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


def dry_run(*flags: str) -> str:
    """Return the plan that the script prints."""
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT), "--dry-run", *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plan() -> str:
    backup = ("--backup", "/mnt/backup/towntwin")
    federation = ("--federate-to", "county.example.org", "--federate-receive")
    return dry_run(
        "--host", "box.example.org", "--standby", "--hj212", "--shard", "main", *backup, *federation
    )


def test_each_unit_starts_a_command_that_exists_with_flags_that_it_has() -> None:
    assert len(UNITS) == 13
    for unit in UNITS:
        (start,) = unit_values(unit)["ExecStart"]
        program, *arguments = shlex.split(start.replace("%i", "main"))
        assert program == PROGRAM, unit
        assert arguments[0] in COMMANDS, unit
        command_parser(arguments[0]).parse_args(arguments)


def test_users_and_environments_of_units_are_made_by_the_script(plan: str) -> None:
    for unit in UNITS:
        values = unit_values(unit)
        (user,) = values["User"]
        is_made = re.search(rf"useradd .* {user}$", plan, re.MULTILINE)
        assert is_made or user in {"root", "postgres"}, (unit, user)
        if user == "root":
            assert values["PrivateNetwork"] == ["yes"]
            continue
        if unit.name.startswith("towntwin-edge"):  # its environment is of the device, which the owner writes
            continue
        environment = values["EnvironmentFile"][0]
        assert f"write {environment} (mode 0640, owner root:{user})" in plan, unit
        assert f"write /etc/systemd/system/{unit.name} (mode 0644" in plan
        assert values["StandardOutput"] == ["journal"]
    enabled = next(line for line in plan.splitlines() if "systemctl --quiet enable" in line)
    optional = ("hj212", "federate-send", "federate-receive")
    for name in ("ingest@main", "ingest-standby@main", "service", "gateway", "access", *optional):
        assert f"towntwin-{name}.service" in enabled
    for timer in TIMERS:
        assert (timer.name in enabled) == (not timer.name.startswith("towntwin-edge"))
        assert timer.with_suffix(".service") in UNITS
        assert f"write /etc/systemd/system/{timer.name} (mode 0644" in plan
    plain = next(line for line in dry_run().splitlines() if "enable" in line)
    assert "hj212" not in plain
    assert "federate" not in plain
    assert "backup" not in plain


def test_no_variable_of_a_unit_is_overridden_by_its_files(plan: str) -> None:
    """A standby with the metrics port of its shard's first process does not start: the address is in use."""
    for unit in UNITS:
        own = [one.partition("=")[0] for one in unit_values(unit).get("Environment", [])]
        assert not [one for one in own if one.startswith("TOWNTWIN_")], f"{unit}: a file has precedence"
    files = unit_values(SCRIPT.parent / "systemd/towntwin-ingest-standby@.service")["EnvironmentFile"]
    own_file = "/etc/towntwin/ingest-standby.env"
    assert files.index(own_file) > files.index("/etc/towntwin/ingest.env")
    assert f"write {own_file} (mode 0640, owner root:towntwin-ingest)" in plan


def test_an_older_environment_is_completed_and_keeps_what_its_owner_wrote(tmp_path: Path) -> None:
    """The functions of the script, in a folder of the test."""
    text = SCRIPT.read_text()
    functions = "".join(
        re.search(rf"^{name}\(\) {{.*?^}}$", text, re.MULTILINE | re.DOTALL)[0] + "\n"  # type: ignore[index]
        for name in ("write_file", "complete_file", "move_gateway_to_https")
    )
    gateway = tmp_path / "gateway.env"
    gateway.write_text(
        "TOWNTWIN_GATEWAY_HOST=127.0.0.1\nTOWNTWIN_GATEWAY_PORT=8080\n#TOWNTWIN_LOG_FORMAT=json\n"
        "TOWNTWIN_DSN=mine"
    )
    gateway.chmod(0o600)
    generated = (
        "# a comment\nTOWNTWIN_DSN=new\nTOWNTWIN_LOG_FORMAT=json\nTOWNTWIN_GATEWAY_HOST=0.0.0.0\n"
        "TOWNTWIN_GATEWAY_PORT=8443\nTOWNTWIN_GATEWAY_TLS_CERT=c\n"
    )
    script = f"""set -eu
ETC={tmp_path}; changed=""
{functions}
move_gateway_to_https
complete_file 0640 "$(id -un)" "$ETC/gateway.env" <<'END'
{generated}END
"""

    def run(dry: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", f"dry_run={dry}\n{script}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = gateway.read_text()
    assert "add to" in run("true")
    assert gateway.read_text() == before
    assert "gateway.env.before" in run("false")
    completed = (
        "#TOWNTWIN_LOG_FORMAT=json\nTOWNTWIN_DSN=mine\nTOWNTWIN_GATEWAY_HOST=0.0.0.0\n"
        "TOWNTWIN_GATEWAY_PORT=8443\nTOWNTWIN_GATEWAY_TLS_CERT=c\n"
    )
    assert gateway.read_text() == completed
    assert gateway.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "gateway.env.before").read_text() == before
    assert run("false") == ""
    assert gateway.read_text() == completed


def test_every_variable_that_the_script_sets_is_a_setting() -> None:
    documented = set(re.findall(r"`(TOWNTWIN_\w+)`", (REPOSITORY / "docs" / "settings.md").read_text()))
    used = set(re.findall(r"TOWNTWIN_[A-Z0-9_]+", SCRIPT.read_text()))
    for unit in UNITS:
        own = {one.partition("=")[0] for one in unit_values(unit).get("Environment", [])}
        used |= {one for one in own if one.startswith("TOWNTWIN_")}
    assert used <= documented
    assert len(used) > 10


def test_no_secret_is_an_argument_of_a_command(plan: str) -> None:
    assert not re.search(r"password[= ](?!-disable)[A-Za-z0-9_-]{16,}", plan)
    assert "write /etc/systemd/system/mosquitto.service.d/towntwin.conf (mode 0644" in plan, "file handles"
    assert "mosquitto_passwd" not in plan
    assert "mosquitto_ctrl" not in plan


@pytest.mark.parametrize(
    "flags",
    [
        ["--nothing"],
        ["--purge-data"],
        ["--shard"],
        ["--host", "a;b"],
        ["--backup", "here"],
        ["--federate-to"],
        ["--federate-to", "mqtts://county"],
    ],
)
def test_a_wrong_option_changes_nothing(flags: list[str]) -> None:
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT), "--dry-run", *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "install.sh: " in done.stderr


def test_uninstalling_keeps_data_unless_they_are_to_be_purged() -> None:
    kept, purged = dry_run("--uninstall"), dry_run("--uninstall", "--purge-data")
    assert "kept: the database towntwin" in kept
    for step in ("DROP DATABASE", "rm -rf /etc/towntwin", "userdel"):
        assert step not in kept
    assert "DROP DATABASE IF EXISTS towntwin" in purged
    assert "rm -rf /etc/towntwin" in purged


def test_the_script_has_no_finding_of_shellcheck() -> None:
    program = Path(sys.executable).with_name("shellcheck")
    scripts = [
        str(SCRIPT),
        str(SCRIPT.parent / "venv.sh"),
        str(SCRIPT.parent / "compose/initialise_database.sh"),
    ]
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_units_are_hardened() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        not_tested.skip("systemd-analyze is missing")
    for unit in UNITS:
        done = subprocess.run(
            [program, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
        )
        found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        assert found, done.stderr
        assert float(found[1]) <= MAX_EXPOSURE, unit


def test_secrets_are_made_once_and_are_for_their_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_box([str(tmp_path), "box.example.org", "10.0.0.5"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert prepare_box([str(tmp_path), "box.example.org"]) == 0
    assert "are there already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for path in before:
        is_public = path.suffix == ".crt"
        assert is_public or path.stat().st_mode & 0o777 == 0o600, path
    CertificateAuthority.load(tmp_path / "authority")
    configuration = (tmp_path / "secrets" / "dynamic-security.json").read_text()
    assert {one["username"] for one in json.loads(configuration)["clients"]} == set(ROLE_BY_USER)
    for user in ROLE_BY_USER:
        assert (tmp_path / "secrets" / f"{user}.password").read_text().strip() not in configuration
    assert prepare_box([str(tmp_path / "authority" / "ca.key"), "box"]) == 2


def test_a_name_that_certificates_lack_is_added_and_an_own_certificate_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_box([str(tmp_path), "localhost", "127.0.0.1"]) == 0
    other = CertificateAuthority.create("other").issue_server(["own.example.org"])
    for suffix, content in zip(("crt", "key"), other, strict=True):
        (tmp_path / "tls" / f"gateway.{suffix}").write_bytes(content)
    assert prepare_box([str(tmp_path), "localhost", "127.0.0.1", "new.example.org", "10.0.0.5"]) == 0
    assert "gateway.crt is not for localhost, 127.0.0.1, new.example.org" in capsys.readouterr().err
    folder = CertificateFolder(tmp_path / "tls", CertificateAuthority.load(tmp_path / "authority"))
    assert folder.read("broker").hosts == ["localhost", "127.0.0.1", "new.example.org", "10.0.0.5"]
    assert folder.read("broker").fault == ""
    assert (tmp_path / "tls" / "gateway.crt").read_bytes() == other[0]
