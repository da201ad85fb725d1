"""Tests agent, ingest and commands against a real Mosquitto with TLS, with client certificates too."""

from __future__ import annotations

import logging
import socket
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.__main__ import main
from deploy.device_access.broker_access import BrokerAccessError
from deploy.device_access.dynamic_security import DynamicSecurity
from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire import broker_tls
from edge.wire.broker_address import BrokerAddress, TlsFiles, parse_broker_address
from edge.wire.errors import WireError
from edge.wire.senml import Record
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.mqtt_session import MqttSession
from ingest_service.pipeline.settings import Settings as IngestSettings
from tests.support.processes import wait_until
from tests.support.tls_mosquitto import TlsMosquitto, issue_client, start_tls_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto

AREA, DEVICE = "330483-d1", "wz-01"


class ThreePacks:
    """A driver with three readings."""

    def packs(self) -> Iterator[Pack]:
        for tick in range(3):
            time_s = 1.7e9 + tick
            yield Pack(due_s=time_s, records=[Record(name="ph", time_s=time_s, value=7.0, unit="pH")])


def agent(folder: Path, broker: BrokerAddress) -> Agent:
    settings = Settings(receipts=False)  # PUBACK releases a message: no platform is needed
    spool = Spool.open(folder / "spool", settings)
    return Agent(area=AREA, device=DEVICE, driver=ThreePacks(), spool=spool, broker=broker, settings=settings)


def run_until(one: Agent, condition: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        wait_until(condition, within_s=20, what="the agent gets there")
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def start_tls(
    start_mosquitto: StartMosquitto, real_servers: Installation | None, tmp_path: Path
) -> Callable[..., TlsMosquitto]:
    return partial(start_tls_mosquitto, start_mosquitto, real_servers, tmp_path)


@pytest.fixture
def tls(start_tls: Callable[..., TlsMosquitto]) -> TlsMosquitto:
    return start_tls()


@pytest.fixture
def mutual(start_tls: Callable[..., TlsMosquitto]) -> TlsMosquitto:
    return start_tls(client_certificates=True)


def test_an_agent_and_the_ingest_session_connect_by_tls(tls: TlsMosquitto, tmp_path: Path) -> None:
    broker = parse_broker_address(tls.url, TlsFiles(ca=tls.ca))
    inbox = Inbox(1 << 20)
    session = MqttSession(broker, IngestSettings(), inbox, "ingest")
    session.start()
    wait_until(lambda: session.fault_key == "", within_s=20, what="ingest subscribes by TLS")
    one = agent(tmp_path, broker)
    run_until(one, lambda: one.counts().receipted == 3)
    session.stop()


def test_an_agent_with_a_client_certificate_connects_and_one_without_learns_why_not(
    mutual: TlsMosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    one = agent(tmp_path, parse_broker_address(mutual.url, TlsFiles(ca=mutual.ca)))
    run_until(one, lambda: "requires a client certificate" in caplog.text)
    files = TlsFiles(mutual.ca, *issue_client(mutual.authority, DEVICE, tmp_path))
    (tmp_path / "second").mkdir()
    two = agent(tmp_path / "second", parse_broker_address(mutual.url, files))
    run_until(two, lambda: two.counts().receipted == 3)


def test_ingest_access_and_an_agent_with_a_foreign_certificate_name_what_to_set(
    mutual: TlsMosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.device_access.dynamic_security.ANSWER_S", 1.0)
    without = parse_broker_address(mutual.url, TlsFiles(ca=mutual.ca))
    sentence = "requires a client certificate, and none is set: set TOWNTWIN_BROKER_CERTIFICATE"
    session = MqttSession(without, IngestSettings(), Inbox(1 << 20), "ingest")
    with structlog.testing.capture_logs() as lines:
        session.start()
        wait_until(lambda: any(sentence in str(one) for one in lines), within_s=30, what="ingest logs why")
        session.stop()
    access = DynamicSecurity(without)
    with pytest.raises(BrokerAccessError, match=sentence):
        access.granted()
    access.close()
    foreign = issue_client(type(mutual.authority).create("another authority"), DEVICE, tmp_path)
    text = refusal(caplog, tmp_path, parse_broker_address(mutual.url, TlsFiles(mutual.ca, *foreign)))
    assert f"refuses the client certificate {foreign[0]}" in text


def refusal(caplog: pytest.LogCaptureFixture, folder: Path, broker: BrokerAddress) -> str:
    """Run an agent until it reports a failure; return the sentence."""
    caplog.set_level(logging.WARNING)
    caplog.clear()
    one = agent(folder, broker)
    run_until(one, lambda: "next try" in caplog.text)
    return caplog.text


def test_a_wrong_authority_a_wrong_host_and_a_port_without_tls_are_sentences(
    tls: TlsMosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(type(tls.authority).create("another authority").certificate_pem)
    assert "is not signed by an authority of" in refusal(
        caplog, tmp_path, parse_broker_address(tls.url, TlsFiles(ca=other))
    )
    assert "is not signed by an authority of this system" in refusal(
        caplog, tmp_path, parse_broker_address(tls.url)
    )
    wrong_host = parse_broker_address(f"mqtts://broker.town:{tls.port}", TlsFiles(ca=tls.ca))
    sentence = broker_tls.describe_failure(_connect_error(tls, "broker.town"), wrong_host)
    assert "the broker's certificate is not for broker.town" in sentence
    plain = parse_broker_address(f"mqtts://127.0.0.1:{tls.plain.port}", TlsFiles(ca=tls.ca))
    assert "does not use TLS on port" in refusal(caplog, tmp_path, plain)
    assert "needs MQTT 5" in refusal(caplog, tmp_path, parse_broker_address(f"mqtt://127.0.0.1:{tls.port}"))


def _connect_error(tls: TlsMosquitto, name: str) -> Exception:
    """Return the error of a handshake with a broker under another name."""
    context = broker_tls.make_context(TlsFiles(ca=tls.ca))
    with socket.create_connection(("127.0.0.1", tls.port), 5) as raw, pytest.raises(OSError) as caught:  # noqa: PT011 - any TLS error
        context.wrap_socket(raw, server_hostname=name)
    return caught.value


@pytest.mark.parametrize(
    ("begin_days", "sentence"), [(-10.0, "certificate has expired"), (5.0, "is not valid yet by the clock")]
)
def test_an_expired_and_a_future_certificate_are_sentences_with_the_clock(
    begin_days: float,
    sentence: str,
    start_tls: Callable[..., TlsMosquitto],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tls = start_tls(days=5.0, begin=datetime.now(UTC) + timedelta(days=begin_days))
    assert sentence in refusal(caplog, tmp_path, parse_broker_address(tls.url, TlsFiles(ca=tls.ca)))


def test_a_device_certificate_is_no_server_certificate(mutual: TlsMosquitto, tmp_path: Path) -> None:
    certificate, _ = issue_client(mutual.authority, DEVICE, tmp_path)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    with pytest.raises(WireError, match="belong together"):
        parse_broker_address(mutual.url, TlsFiles(mutual.ca, certificate))
    broker_tls.secure_client(client, parse_broker_address("mqtt://h"))  # nothing to do without TLS


def test_files_that_cannot_be_used_are_sentences(tmp_path: Path) -> None:
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.write_text("nothing\n")
    encrypted = tmp_path / "encrypted"
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    for files, sentence in (
        (TlsFiles(ca=empty), "holds no certificate in PEM format"),
        (TlsFiles(ca=missing), r"CA file .* can't be read \(No such file"),
        (TlsFiles(certificate=empty, key=missing), "key file .* can't be read"),
        (TlsFiles(certificate=empty, key=encrypted), "is encrypted"),
        (TlsFiles(certificate=empty, key=empty), "not in PEM format"),
    ):
        with pytest.raises(broker_tls.TlsError, match=sentence):
            broker_tls.make_context(files)
    (tmp_path / "password").write_text("\n")
    with pytest.raises(WireError, match="its first line is empty"):
        parse_broker_address("mqtt://wz-01@h", password_file=tmp_path / "password")
    with pytest.raises(WireError, match="in the address and in a file"):
        parse_broker_address("mqtt://wz-01:x@h", password_file=empty)
    with pytest.raises(WireError, match="write mqtts://"):
        parse_broker_address("mqtt://h", TlsFiles(ca=empty))
    broker = parse_broker_address("mqtts://wz-01@h", password_file=empty)
    assert broker.password == empty.read_text().strip()


def test_a_password_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edge", "--area", "a", "--device", "d", "--broker", "mqtt://d:secret@127.0.0.1:9"]) == 2
    output = capsys.readouterr().err
    assert "list of processes" in output
    assert "TOWNTWIN_BROKER" in output
    assert "secret" not in output


def test_doctor_names_what_is_wrong_with_tls(
    tls: TlsMosquitto, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TOWNTWIN_BROKER", tls.url)
    monkeypatch.setenv("TOWNTWIN_FOLDER", str(tmp_path))
    main(["doctor", "--broker-ca", str(tls.ca)])
    assert f"{tls.url} answers" in capsys.readouterr().out
    main(["doctor"])
    assert "is not signed by an authority of this system" in capsys.readouterr().out


def test_a_site_file_names_the_broker_and_its_files(tls: TlsMosquitto, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pa55\n")
    (tmp_path / "site.toml").write_text(
        f"""area = "{AREA}"
device = "{DEVICE}"
spool = "{tmp_path}/site.spool"
[driver.once]
kind = "lines"
path = "readings"
[broker]
address = "{tls.url}"
ca = "{tls.ca.name}"
password_file = "password"
"""
    )
    (tmp_path / "readings").write_text('[{"n":"ph","u":"pH","v":7.4,"t":1795000000}]\n')
    assert (
        main(["edge", "run", str(tmp_path / "site.toml"), "--receipts", "false", "--clock-wait-s", "0"]) == 0
    )
