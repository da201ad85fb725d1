"""Tests `towntwin ca`, and renewals beside open connections of a real gateway and a real broker."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.__main__ import main
from deploy.device_access.certificate_authority import CertificateAuthority
from deploy.device_access.server_certificates import CertificateFolder
from deploy.embedded.server_environment import free_port
from gateway.transport.tls_certificate import ReloadingTlsContext
from ingest_service.storage.postgres.migrate import migrate
from tests.support import not_tested
from tests.support.processes import PlatformProcess, wait_until
from tests.support.run_folders import new_folder
from tests.support.server_installation import runs_folder

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto

WITHIN_S = 30.0
HOSTS = ["localhost", "127.0.0.1"]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Flags of an authority that was made by the command, and of a folder for certificates."""
    flags = ["--authority", str(tmp_path / "authority"), "--certificates", str(tmp_path / "tls")]
    assert main(["ca", "init", *flags]) == 0
    return flags


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def served_serial(port: int, ca: Path) -> int:
    """The number of the certificate that a new, verified connection gets."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), ca_certs=str(ca), timeout=WITHIN_S)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_the_command_issues_lists_and_renews_what_ends_soon(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = tmp_path / "tls"
    assert (tmp_path / "authority").stat().st_mode & 0o077 == 0
    assert main(["ca", "issue", "broker", "box.town", "10.0.0.1", *folders]) == 0
    assert main(["ca", "issue", "gateway", "box.town", "--days", "20", *folders]) == 0
    assert [(tls / name).stat().st_mode & 0o777 for name in ("gateway.key", "gateway.crt")] == [0o600, 0o644]
    assert (tls / "ca.crt").read_bytes() == (tmp_path / "authority/ca.crt").read_bytes()
    capsys.readouterr()
    assert main(["ca", "list", "--json", *folders]) == 0
    rows = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert rows["broker"]["hosts"] == ["box.town", "10.0.0.1"]
    assert (round(rows["broker"]["days_left"]), round(rows["gateway"]["days_left"])) == (825, 20)
    old = {name: (serial(tls / f"{name}.crt"), (tls / f"{name}.key").read_bytes()) for name in rows}
    marker = tmp_path / "reloaded"
    assert main(["ca", "renew", "--then", f"touch {marker}", *folders]) == 0
    assert marker.exists()
    marker.unlink()
    assert serial(tls / "broker.crt") == old["broker"][0], "it does not end soon"
    assert serial(tls / "gateway.crt") != old["gateway"][0]
    assert (tls / "gateway.key").read_bytes() != old["gateway"][1]
    assert (tls / "gateway.key").stat().st_mode & 0o777 == 0o600
    (tls / "broker.key").write_bytes(old["gateway"][1])  # as if a renewal had been cut off between two files
    assert main(["ca", "list", *folders]) == 1
    assert "the key is not that of the certificate" in capsys.readouterr().out
    assert main(["ca", "renew", "--within-days", "5", "--then", "false", *folders]) == 1
    assert "ended with code 1" in capsys.readouterr().err
    assert main(["ca", "renew", "--within-days", "5", "--then", f"touch {marker}", *folders]) == 0
    assert not marker.exists(), "nothing was renewed"
    assert main(["ca", "list", *folders]) == 0
    listed = capsys.readouterr().out
    assert "gateway: until" in listed
    assert "PRIVATE" not in listed


def test_the_owners_own_certificate_is_accepted_and_not_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--authority", str(tmp_path / "none"), "--certificates", str(tmp_path / "tls")]
    county = CertificateAuthority.create("county")
    own, key = tmp_path / "own.crt", tmp_path / "own.key"
    pair = county.issue_server(["twin.town"], days=10)
    files = ["--certificate", str(own), "--key", str(key)]
    for certificate, key_pem, sentence in (
        (pair[0], county.issue_server(["x"])[1], "is not that of the certificate"),
        (pair[0] + pair[0], pair[1], "not in order"),
        (pair[0], b"x", "no unencrypted PEM file"),
        (county.issue_server(["x"], days=0.01)[0], pair[1], "is not that of the certificate"),
        (b"x", pair[1], "the certificate is no PEM file"),
    ):
        own.write_bytes(certificate)
        key.write_bytes(key_pem)
        assert main(["ca", "import", "gateway", *files, *flags]) == 2
        assert sentence in capsys.readouterr().err
    own.write_bytes(pair[0] + county.certificate_pem)
    key.write_bytes(pair[1])
    assert main(["ca", "import", "gateway", *files, *flags]) == 0
    assert (tmp_path / "tls/gateway.key").stat().st_mode & 0o777 == 0o600
    assert main(["ca", "list", *flags]) == 0
    assert "twin.town, your own" in capsys.readouterr().out
    assert main(["ca", "renew", *flags]) == 1
    assert "towntwin ca import gateway" in capsys.readouterr().err
    for arguments, sentence in (
        (["issue", "broker", "h"], "can't be read"),
        (["issue", "broker"], "can't be read"),
        (["import", "broker"], "give a name"),
    ):
        assert main(["ca", *arguments, *flags]) == 2
        assert sentence in capsys.readouterr().err


def test_invalid_names_hosts_and_owners_are_refused_and_leave_nothing(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, sentence in (
        (["../up", "h"], "is no name of a certificate"),
        (["ca", "h"], "is no name of a certificate"),
        (["broker", "*"], "neither a host name"),
        (["broker"], "give a name and the hosts"),
        (["broker", "h", "--owner", "no-such-user"], "is no user of this machine"),
    ):
        assert main(["ca", "issue", *arguments, *folders]) == 2
        assert sentence in capsys.readouterr().err
    assert [*(tmp_path / "tls").glob("*")] == []
    assert main(["ca", "init", *folders]) == 2
    assert "has an authority already" in capsys.readouterr().err


def test_a_gateway_serves_a_renewed_certificate_and_keeps_open_connections(
    folders: list[str], tmp_path: Path, empty_plain_dsn: str
) -> None:
    migrate(empty_plain_dsn)
    tls, port = tmp_path / "tls", free_port()
    assert main(["ca", "issue", "gateway", *HOSTS, "--days", "20", *folders]) == 0
    first = serial(tls / "gateway.crt")
    flags = ["--port", str(port), "--heavy-process", "false"]
    flags += ["--tls-cert", str(tls / "gateway.crt"), "--tls-key", str(tls / "gateway.key")]
    process = PlatformProcess("gateway", *flags, log=tmp_path / "gateway.log", TOWNTWIN_DSN=empty_plain_dsn)
    trust = ssl.create_default_context(cafile=str(tls / "ca.crt"))
    process.start()
    try:
        wait_until(partial(_answers, port, trust), within_s=WITHIN_S, what="the gateway answers")
        open_connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=WITHIN_S)
        open_connection.connect()
        kept = open_connection.sock
        assert served_serial(port, tls / "ca.crt") == first
        assert main(["ca", "renew", *folders]) == 0
        second = serial(tls / "gateway.crt")
        wait_until(
            lambda: served_serial(port, tls / "ca.crt") == second, within_s=WITHIN_S, what="it is served"
        )
        open_connection.request("GET", "/healthz")
        assert open_connection.getresponse().status == 200
        assert open_connection.sock is kept, "the connection was not opened again"
        open_connection.close()
    finally:
        process.stop()
    assert "PRIVATE" not in (tmp_path / "gateway.log").read_text()


def _answers(port: int, trust: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


def test_a_context_keeps_its_certificate_while_the_new_files_do_not_match(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path, CertificateAuthority.create("a"))
    folder.issue("gateway", HOSTS, days=1)
    context = ReloadingTlsContext(tmp_path / "gateway.crt", tmp_path / "gateway.key")
    assert not context.reload_if_changed()
    key = (tmp_path / "gateway.key").read_bytes()
    assert folder.renew(2) == (["gateway"], [])
    renewed = (tmp_path / "gateway.key").read_bytes()
    (tmp_path / "gateway.key").write_bytes(key)
    assert not context.reload_if_changed()
    (tmp_path / "gateway.key").unlink()
    assert not context.reload_if_changed()
    (tmp_path / "gateway.key").write_bytes(renewed)
    assert context.reload_if_changed()
    assert not context.reload_if_changed()


def test_a_gateway_without_a_usable_certificate_ends_with_a_sentence(
    tmp_path: Path, plain_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("x")
    for flags, sentence in (
        (["--tls-cert", str(tmp_path / "x")], "both --tls-cert and --tls-key"),
        (["--tls-cert", str(tmp_path / "x"), "--tls-key", str(tmp_path / "x")], "can't be used"),
        (["--tls-cert", str(tmp_path / "y"), "--tls-key", str(tmp_path / "y")], "No such file"),
    ):
        assert main(["gateway", "--dsn", plain_dsn, "--port", str(free_port()), *flags]) == 2
        assert sentence in capsys.readouterr().err


def test_a_broker_serves_a_renewed_certificate_and_keeps_open_connections(
    start_mosquitto: StartMosquitto, real_servers: Installation | None
) -> None:
    if real_servers is None or not real_servers.has_mosquitto:
        not_tested.skip("Mosquitto is missing: run on Debian as root, or install Debian's mosquitto")
    tls, port = new_folder(runs_folder(real_servers), "tls", real_servers.owner("mosquitto")), free_port()
    tls.chmod(0o755)
    folder = CertificateFolder(tls, CertificateAuthority.create("town"))
    folder.issue("broker", HOSTS, days=20)
    os.chown(tls / "broker.key", *real_servers.owner("mosquitto"))
    inside = real_servers.inside(tls)
    files = (f"cafile {inside}/ca.crt", f"certfile {inside}/broker.crt", f"keyfile {inside}/broker.key")
    broker = start_mosquitto(lines=(f"listener {port} 127.0.0.1", *files))
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(ca_certs=str(tls / "ca.crt"))
    received, disconnected = threading.Event(), threading.Event()
    client.on_message = lambda *_: received.set()
    client.on_disconnect = lambda *_: disconnected.set()
    client.on_connect = lambda one, *_: one.subscribe("town/#")
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert subscribed.wait(WITHIN_S)
        first = served_serial(port, tls / "ca.crt")
        assert folder.renew(30) == (["broker"], [])
        assert (tls / "broker.key").stat().st_uid == real_servers.owner("mosquitto")[0]
        os.kill(broker.pid, signal.SIGHUP)
        second = serial(tls / "broker.crt")
        assert second != first
        wait_until(
            lambda: served_serial(port, tls / "ca.crt") == second, within_s=WITHIN_S, what="it is served"
        )
        client.publish("town/a", b"x", qos=1)
        assert received.wait(WITHIN_S)
        assert not disconnected.is_set()
    finally:
        client.disconnect()
        client.loop_stop()
