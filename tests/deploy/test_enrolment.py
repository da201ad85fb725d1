"""Tests enrolment from the technician's command to revocation, with real broker, database and gateway."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from deploy.__main__ import main
from deploy.device_access.access_process import AccessProcess
from deploy.device_access.dynamic_security import DynamicSecurity
from deploy.device_access.settings import Settings as AccessSettings
from deploy.embedded.server_environment import free_port
from edge.drivers.site_drivers import read_site_file, site_broker
from edge.wire import federation
from edge.wire.broker_address import BrokerAddress, TlsFiles, parse_broker_address
from gateway.settings import Settings as GatewaySettings
from ingest_service.pipeline.inbox import Inbox
from ingest_service.pipeline.mqtt_session import MqttSession
from ingest_service.pipeline.settings import Settings as IngestSettings
from ingest_service.storage.contract.models import Area, Device, Directory, Series, Site
from ingest_service.storage.postgres.enrolments import EnrolmentStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages
from tests.support.asgi import statuses_until_limited
from tests.support.device_client import NOT_AUTHORIZED, DeviceClient
from tests.support.dynamic_mosquitto import ADMIN, ADMIN_PASSWORD, start_dynamic_mosquitto
from tests.support.gateway_access import HEADERS, KEY, gateway_app
from tests.support.processes import REPOSITORY, wait_until
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.debian_servers.installation import Installation
    from tests.conftest import StartMosquitto
    from tests.support.throwaway_servers import PostgresServer
    from tests.support.tls_mosquitto import TlsMosquitto

AREA = "330483-d1"
PAGE = "enrol-a-device.md"
SITE = Site(site_id="west", area_id=AREA, kind="river_section", en="West", zh="西", lon=120.5, lat=30.7)
DIRECTORY = Directory(
    areas=[
        Area(area_id=AREA, level="town", en="Town", zh="镇"),
        Area(area_id="t2", level="town", en="T", zh="乙"),
    ],
    sites=[SITE],
    devices=[Device(device_id="elsewhere", area_id="t2")],
    series=[Series(site_id="west", quantity="ph", limits={"suspect_low": 5.0})],
)
CHANNELS: list[dict[str, Any]] = [
    {"name": "pH", "site": "west", "quantity": "ph", "unit": "pH"},
    {"name": "temp", "site": "west", "quantity": "water_temperature", "limits": {"suspect_high": 40.0}},
]

CLIENT = httpx.Client(headers=HEADERS, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@pytest.fixture(scope="module")
def store(plain_server: PostgresServer) -> Iterator[PostgresStore]:
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(DIRECTORY)
        yield store
        store.close()


@pytest.fixture(scope="module")
def enrolments(store: PostgresStore) -> EnrolmentStore:
    return EnrolmentStore(store)


@pytest.fixture
def dynamic(
    start_mosquitto: StartMosquitto, real_servers: Installation | None, tmp_path: Path
) -> TlsMosquitto:
    return start_dynamic_mosquitto(start_mosquitto, real_servers, tmp_path)


@pytest.fixture
def access(dynamic: TlsMosquitto, enrolments: EnrolmentStore) -> Iterator[None]:
    """`towntwin access` beside the broker."""
    broker = DynamicSecurity(BrokerAddress("127.0.0.1", dynamic.plain.port, ADMIN, ADMIN_PASSWORD))
    process = AccessProcess(enrolments, broker, dynamic.authority, AccessSettings(poll_s=0.1, compare_s=0.5))
    stop = threading.Event()
    thread = threading.Thread(target=process.run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()
    broker.close()


@pytest.fixture
def gateway(store: PostgresStore) -> Iterator[Callable[..., str]]:
    """A function that starts a gateway with given settings, and returns its address."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**settings: Any) -> str:
        port = free_port()
        app = gateway_app(store, settings=GatewaySettings(**settings))
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        wait_until(lambda: server.started, within_s=30, what="the gateway starts")
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()


def call(url: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
    method = options.pop("method", "GET" if body is None else "POST")
    return CLIENT.request(method, url + path, json=body, **options)


def listeners(broker: TlsMosquitto) -> dict[str, Any]:
    """Return the gateway's settings of a broker with a listener for each credential."""
    return {
        "device_broker": f"mqtt://127.0.0.1:{broker.plain.port}",
        "device_certificate_broker": broker.url,
        "device_ca": broker.ca,
    }


def new_code(url: str, **options: Any) -> str:
    made = call(url, "/v1/enrolment-codes", {"area": AREA, **options})
    assert made.status_code == 200, made.text
    assert "<svg" in made.json()["qr_svg"]
    return str(made.json()["code"])


def write_site(folder: Path, device: str) -> Path:
    (folder / "readings").write_text(
        '[{"n":"pH","u":"pH","v":7.4,"t":1795000000},{"n":"temp","u":"Cel","v":18.5,"t":1795000000}]\n'
    )
    path = folder / "site.toml"
    path.write_text(
        f'area = "{AREA}"\ndevice = "{device}"\nspool = "{folder}/spool"\n\n'
        '[driver.probe]\nkind = "lines"\npath = "readings"\n'
    )
    return path


def enrol_on_device(
    site: Path, code: str, monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[threading.Thread, list[int]]:
    """Run `towntwin edge enrol` on a thread."""
    return run_enrolment(["edge", "enrol", str(site), "--sample-s", "0.5", *options], code, monkeypatch)


def run_enrolment(
    command: list[str], code: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Thread, list[int]]:
    """Run a command that enrols on a thread, as the signal handlers are the main thread's."""
    monkeypatch.setenv("TOWNTWIN_ENROLMENT_CODE", code)
    for one in ("edge", "federate"):
        monkeypatch.setattr(f"deploy.commands.{one}.stop_on_signals", threading.Event)
    monkeypatch.setattr("deploy.device_enrolment.POLL_S", 0.1)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main([*command, "--wait-s", "30"])))
    thread.start()
    return thread, codes


def wait_for_proposal(url: str, device: str) -> dict[str, Any]:
    find = partial(call, url, f"/v1/enrolments?device={device}&state=proposed")
    wait_until(lambda: bool(find().json()["items"]), within_s=20, what="the device is proposed")
    return dict(find().json()["items"][0])


@pytest.mark.parametrize("credential", ["password", "certificate"])
@pytest.mark.usefixtures("access")
def test_a_device_is_proposed_confirmed_publishes_as_itself_and_is_cut_off_when_revoked(  # noqa: PLR0917
    credential: str,
    dynamic: TlsMosquitto,
    gateway: Callable[..., str],
    store: PostgresStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_certificate = credential == "certificate"
    url = gateway(**listeners(dynamic))
    device = f"wz-{credential}"
    site = write_site(tmp_path, device)
    thread, codes = enrol_on_device(site, new_code(url), monkeypatch, "--credential", credential)
    proposal = wait_for_proposal(url, device)
    assert proposal["channels"] == [
        {"name": "pH", "unit": "pH", "value": 7.4},
        {"name": "temp", "unit": "Cel", "value": 18.5},
    ]
    assert (proposal["area"], proposal["access"], proposal["address"]) == (AREA, "none", "127.0.0.1")
    decision = f"/v1/enrolments/{proposal['enrolment_id']}/decision"
    for wrong, sentence in (
        ([], "at least one"),
        ([CHANNELS[0] | {"unit": "mg/L"}], "it accepts pH"),
        ([CHANNELS[1] | {"quantity": "ph"}], "can't be in 'Cel'"),
        ([CHANNELS[0] | {"quantity": "pH"}], "there is no quantity 'pH'"),
        ([CHANNELS[0] | {"site": "nowhere"}], "no site 'nowhere'"),
        ([CHANNELS[0] | {"limits": {"never_heard_of": 1.0}}], "never_heard_of"),
        ([CHANNELS[0], CHANNELS[0]], "is there twice"),
    ):
        refused = call(url, decision, {"decision": "confirm", "channels": wrong})
        assert refused.status_code in {404, 422}
        assert sentence in refused.json()["detail"]
    confirmed = call(url, decision, {"decision": "confirm", "channels": CHANNELS, "note": "seen"})
    assert confirmed.status_code == 200, confirmed.text
    assert call(url, decision, {"decision": "confirm", "channels": CHANNELS}).status_code == 409
    thread.join()
    assert codes == [0]
    enrolled = store.directory()
    assert Device(device_id=device, area_id=AREA) in enrolled.devices
    limits = {one.quantity: one.limits for one in enrolled.series}
    assert limits == {"ph": {"suspect_low": 5.0}, "water_temperature": {"suspect_high": 40.0}}
    for path in tmp_path.glob(f"{device}.*"):
        assert path.suffix == ".crt" or path.stat().st_mode & 0o077 == 0, path
    assert not (tmp_path / f"{device}.enrolment").exists()

    # The site file as written connects, and the device is nobody else.
    assert main(["edge", "run", str(site), "--receipts", "false", "--clock-wait-s", "0"]) == 0
    broker = site_broker(read_site_file(site), tmp_path)
    assert broker is not None
    if is_certificate:
        check_renewal(site, device, proposal["enrolment_id"], store)
    one = DeviceClient(broker, device, broker.password)
    assert one.publish(f"towntwin/v1/{AREA}/{device}/data") in {0, 16}
    assert one.publish(f"towntwin/v1/{AREA}/wz-other/data") == NOT_AUTHORIZED

    assert call(url, decision, {"decision": "revoke", "note": "stolen"}).status_code == 200
    assert one.has_ended.wait(30), "a revoked device is cut off"
    one.close()
    latest = call(url, f"/v1/enrolments?device={device}").json()["items"][0]
    wait_until(
        lambda: call(url, f"/v1/enrolments?device={device}").json()["items"][0]["access"] == "withdrawn",
        within_s=30,
        what="the access is withdrawn",
    )
    assert (latest["state"], latest["note"]) == ("revoked", "stolen")


def check_renewal(site: Path, device: str, enrolment_id: int, store: PostgresStore) -> None:
    """A certificate that ends soon is issued anew by the process for access, and collected by the device."""
    enrolments, path, month_s = EnrolmentStore(store), site.parent / f"{device}.crt", 30 * 86_400.0
    before = path.read_bytes()
    assert main(["edge", "renew", str(site)]) == 0
    assert path.read_bytes() == before, "there is no newer one yet"
    assert enrolments.certificates_ending(time.time() + month_s) == []
    with store.transaction() as connection:
        connection.execute(
            "UPDATE enrolment SET certificate_ends = now() + interval '9 days',"
            " held_ends = now() + interval '9 days' WHERE enrolment_id = %s",
            (enrolment_id,),
        )

    def issued() -> str:
        found = enrolments.enrolment(enrolment_id)
        return "" if found is None or found.certificate is None else found.certificate

    wait_until(lambda: issued().encode() != before, within_s=30, what="the certificate is issued anew")
    ending = enrolments.certificates_ending(time.time() + month_s)
    assert [one.device_id for one in ending] == [device], "the device still has the old one"
    assert main(["edge", "renew", str(site)]) == 0
    assert path.read_bytes() == issued().encode()
    assert enrolments.certificates_ending(time.time() + month_s) == []


def test_hostile_proposals_are_bounded_and_refused_in_sentences(gateway: Callable[..., str]) -> None:
    url = gateway()
    code = new_code(url, devices=2)
    fine = {"code": code, "area": AREA, "device": "h-1", "credential": "password", "channels": []}
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"device": "wz/+"}, 422, "can't stand in a topic"),
        ({"device": "#"}, 422, "can't stand in a topic"),
        ({"device": "a" * 65}, 422, "at most 64"),
        ({"channels": [{"name": "+"}]}, 422, "can't stand in a topic"),
        ({"channels": [{"name": f"c{n}"} for n in range(65)]}, 422, "at most 64"),
        ({"channels": [{"name": "c"}, {"name": "c"}]}, 422, "is there twice"),
        ({"credential": "certificate", "request": "x" * 8193}, 422, "at most 8192"),
        ({"credential": "certificate"}, 422, "needs a signing request"),
        ({"credential": "certificate", "request": "no PEM"}, 422, "request"),
        ({"agent": "<b>\x1b[31m"}, 422, "control character"),
        ({"area": "t2"}, 422, "the code is for 330483-d1"),
        ({"device": "elsewhere"}, 409, "enrolled in another area"),
        ({"code": "x" * 101}, 422, "at most 100"),
        ({"code": code[:-1] + ("0" if code[-1] != "0" else "1")}, 401, "code: is unknown"),
        ({"agent": "a" * 70_000}, 413, "65,536"),
    ]
    for changed, status, sentence in wrong:
        refused = call(url, "/v1/enrolments", fine | changed)
        assert (refused.status_code, sentence in refused.json()["detail"]) == (status, True), refused.text
    assert call(url, "/v1/enrolments", fine).status_code == 200
    again = call(url, "/v1/enrolments", fine)
    assert (again.status_code, "proposed or enrolled already" in again.text) == (409, True)
    assert call(url, "/v1/enrolments", fine | {"device": "h-2"}).status_code == 200
    used_up = call(url, "/v1/enrolments", fine | {"device": "h-3"})
    assert (used_up.status_code, "used up" in used_up.text) == (401, True)


def test_a_flood_of_wrong_codes_gets_429_and_a_token_is_the_devices_alone(
    gateway: Callable[..., str],
) -> None:
    url = gateway()
    code = new_code(url, devices=1)
    fine = {"code": code, "area": AREA, "device": "f-1", "credential": "password", "channels": []}
    proposed = call(url, "/v1/enrolments", fine).json()
    path = f"/v1/enrolments/{proposed['enrolment_id']}"
    early = call(url, f"{path}/collect", {"token": proposed["token"], "password": "p" * 20})
    assert (early.status_code, "once the device is confirmed" in early.text) == (409, True)
    assert call(url, f"{path}/collect", {"token": proposed["token"]}).json()["state"] == "proposed"
    assert call(url, f"{path}/collect", {"token": "0" * 32}).status_code == 401
    assert call(url, f"{path}/decision", {"decision": "revoke"}).status_code == 409
    assert call(url, f"{path}/decision", {"decision": "reject", "note": "unknown"}).status_code == 200
    assert call(url, f"{path}/collect", {"token": proposed["token"]}).json()["state"] == "rejected"
    assert call(url, "/v1/enrolment-codes", method="GET").json()[0]["proposals"] == 1
    code_id = call(url, "/v1/enrolment-codes", method="GET").json()[0]["code_id"]
    assert call(url, f"/v1/enrolment-codes/{code_id}", method="DELETE").status_code == 200
    assert call(url, f"/v1/enrolment-codes/{code_id}", method="DELETE").status_code == 409
    statuses = statuses_until_limited(
        lambda _: call(url, "/v1/enrolments", fine | {"code": "tte_0_0"}).status_code
    )
    assert set(statuses) == {401, 429}


def test_the_page_on_enrolment_runs_as_written(
    gateway: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: PostgresStore
) -> None:
    """Steps 2 to 5, with a broker without access control; the broker's part has its own test."""
    url = gateway(device_broker="mqtt://127.0.0.1:9", broker_access="none")
    with store.transaction() as connection:
        connection.execute("TRUNCATE enrolment, enrolment_code RESTART IDENTITY")
    run = partial(howto_pages.run_command, address=url, key=KEY, folder=tmp_path)
    make, show, confirm, revoke = howto_pages.curl_lines(PAGE)
    (site_file,) = howto_pages.code_blocks(PAGE, "toml")
    site = tmp_path / "site.toml"
    probe = tmp_path / "read_probe"
    probe.write_text("#!/bin/sh\necho 'ph=7.2 pH'\n")
    probe.chmod(0o755)
    site.write_text(site_file.replace("/usr/local/bin/read_probe", str(probe)))
    code = json.loads(run(make))["code"]
    thread, codes = enrol_on_device(site, code, monkeypatch)
    wait_until(lambda: json.loads(run(show))["items"] != [], within_s=20, what="the device is proposed")
    (proposed,) = json.loads(run(show))["items"]
    assert proposed["channels"] == [{"name": "ph", "unit": "pH", "value": 7.2}]
    assert json.loads(run(confirm))["state"] == "confirmed"
    thread.join()
    assert codes == [0]
    assert json.loads(run(revoke))["state"] == "revoked"
    assert json.loads(run(show))["items"] == []


def test_the_commands_of_the_page_let_the_platform_itself_use_the_broker(
    dynamic: TlsMosquitto, real_servers: Installation
) -> None:
    text = (REPOSITORY / "docs/howto" / PAGE).read_text("utf-8")
    commands = re.findall(r"^    mosquitto_ctrl (dynsec .*)$", text, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        arguments = command.split()
        if "createClient" in arguments:
            arguments += ["-p", "platform"]  # instead of the prompt
        done = control_broker(dynamic, real_servers, *arguments)
        assert done.returncode == 0, (command, done.stderr)
    broker = BrokerAddress("127.0.0.1", dynamic.plain.port, "towntwin-ingest", "platform")
    inbox = Inbox(1 << 20)
    session = MqttSession(broker, IngestSettings(), inbox, "ingest")
    session.start()
    try:
        wait_until(lambda: session.fault_key == "", within_s=20, what="ingest subscribes")
        session.probe()
        wait_until(lambda: session._probed_s is None, within_s=30, what="the probe is answered")
    finally:
        session.stop()
    one = DeviceClient(broker, "towntwin-ingest", "platform")
    assert one.publish(f"towntwin/v1/{AREA}/wz-01/receipt") in {0, 16}
    one.close()


def control_broker(
    dynamic: TlsMosquitto, installation: Installation, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run mosquitto_ctrl as the administrator, beside the broker."""
    chroot = ["chroot", str(installation.root)] if str(installation.root) != "/" else []
    options = ["-h", "127.0.0.1", "-p", str(dynamic.plain.port), "-u", ADMIN, "-P", ADMIN_PASSWORD]
    command = [*chroot, "/usr/bin/mosquitto_ctrl", *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_process_for_access_is_shown_among_the_others(
    dynamic: TlsMosquitto, store: PostgresStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr("deploy.commands.access.stop_on_signals", lambda _grace_s: stop)
    monkeypatch.setattr("deploy.commands.access.open_store", lambda *_: store)
    monkeypatch.setattr(store, "close", lambda: None)  # the fixture's own
    monkeypatch.setattr("deploy.device_access.dynamic_security.ANSWER_S", 1.0)
    (tmp_path / "password").write_text(f"{ADMIN_PASSWORD}\n")

    def shown() -> list[tuple[str, str]]:
        return [(one.state, one.why) for one in store.processes() if one.kind == "access"]

    def is_shown(state: tuple[str, str]) -> bool:
        return shown() == [state]

    def start(port: int) -> threading.Thread:
        admin = f"mqtt://{ADMIN}@127.0.0.1:{port}"
        arguments = ["access", "--admin", admin, "--admin-password-file", str(tmp_path / "password")]
        thread = threading.Thread(target=main, args=[[*arguments, "--poll-s", "0.1"]])
        thread.start()
        return thread

    for port, state in (
        (dynamic.plain.port, ("alive", "")),
        (free_port(), ("stuck", "administration")),
    ):
        stop.clear()
        thread = start(port)
        try:
            wait_until(partial(is_shown, state), within_s=20, what=f"it is {state}")
        finally:
            stop.set()
            thread.join()
        assert shown() == [], "one that was stopped has no row"


def test_a_broker_without_access_control_is_named_plainly(
    gateway: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = gateway(device_broker="mqtt://127.0.0.1:9", broker_access="none")
    site = write_site(tmp_path, "open-1")
    thread, codes = enrol_on_device(site, new_code(url), monkeypatch)
    number = wait_for_proposal(url, "open-1")["enrolment_id"]
    body = {"decision": "confirm", "channels": CHANNELS}
    assert call(url, f"/v1/enrolments/{number}/decision", body).status_code == 200
    thread.join()
    assert codes == [0]
    assert "no access control" in capsys.readouterr().out
    assert not (tmp_path / "open-1.password").exists()
    assert 'address = "mqtt://127.0.0.1:9"' in site.read_text()
    assert main(["edge", "enrol", str(site)]) == 2
    assert "remove that table" in capsys.readouterr().err


def test_what_is_no_code_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = write_site(tmp_path, "n-1")
    for code, sentence in (
        ("nonsense", "looks like https://HOST#tte_"),
        ("ftp://h/#tte_a_b", "looks like https://HOST#tte_"),
        ("http://127.0.0.1:9/#tte_a_b", "can't be reached"),
    ):
        thread, codes = enrol_on_device(site, code, monkeypatch)
        thread.join()
        assert codes == [2]
        assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("access")
def test_a_town_gets_the_certificate_of_its_county_by_enrolment_and_its_kind_stays(  # noqa: PLR0917
    dynamic: TlsMosquitto,
    gateway: Callable[..., str],
    store: PostgresStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = Device(device_id="town-box", area_id=AREA, kind=federation.DEVICE_KIND)
    store.enrol(Directory(devices=[device]))
    url = gateway(**listeners(dynamic))
    policy = tmp_path / "federation.toml"
    policy.write_text(f'area = "{AREA}"\ndevice = "{device.device_id}"\n')
    command = ["federate", "enrol", "--policy", str(policy)]
    thread, codes = run_enrolment(command, new_code(url), monkeypatch)
    proposal = wait_for_proposal(url, device.device_id)
    assert (proposal["channels"], proposal["credential"]) == ([], "certificate")
    decision = f"/v1/enrolments/{proposal['enrolment_id']}/decision"
    refused = call(url, decision, {"decision": "confirm", "channels": CHANNELS})
    assert refused.status_code == 422
    assert "forwards a town" in refused.json()["detail"]
    assert call(url, decision, {"decision": "confirm"}).status_code == 200
    thread.join()
    assert codes == [0]
    assert device in store.directory().devices

    tls = TlsFiles(*(tmp_path / name for name in ("broker-ca.crt", "box.crt", "box.key")))
    assert f"address: {dynamic.url}" in capsys.readouterr().out, "the listener for certificates"
    client = DeviceClient(parse_broker_address(dynamic.url, tls), device.device_id)
    assert client.publish(f"towntwin/v1/{AREA}/{device.device_id}/federation") in {0, 16}
    assert client.publish(f"towntwin/v1/{AREA}/wz-other/federation") == NOT_AUTHORIZED
    client.close()
    assert main(["federate", "renew", "--policy", str(policy)]) == 0
    assert main(command) == 2, "it is enrolled"


@pytest.mark.usefixtures("access")
def test_a_fleet_from_csv_gets_passwords_and_the_broker_withdraws_what_is_not_enrolled(
    dynamic: TlsMosquitto, store: PostgresStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWNTWIN_DSN", store._dsn)
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(
        "town_id,site_id,kind,lon,lat,device_id,quantity\n"
        f"{AREA},csv-1,river_section,120.5,30.7,csv-1,ph\n{AREA},csv-2,river_section,120.6,30.8,csv-2,ph\n"
    )
    out = tmp_path / "passwords.csv"
    assert main(["enrol", "--csv", str(fleet), "--credentials", str(out)]) == 0
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert lines[0] == ["area_id", "device_id", "password"]
    assert out.stat().st_mode & 0o077 == 0
    wait_until(lambda: not EnrolmentStore(store).pending(), within_s=30, what="the broker has the passwords")
    broker = BrokerAddress("127.0.0.1", dynamic.plain.port)
    one = DeviceClient(broker, "csv-1", lines[1][2])
    assert one.publish(f"towntwin/v1/{AREA}/csv-1/data") in {0, 16}
    assert one.publish(f"towntwin/v1/{AREA}/csv-2/data") == NOT_AUTHORIZED
    one.close()
    assert main(["enrol", "--csv", str(fleet), "--credentials", str(out)]) == 2, "the file is not overwritten"
    with store.transaction() as connection:  # whatever way an enrolment ends, the broker follows the database
        connection.execute("DELETE FROM enrolment WHERE device_id = 'csv-2'")
    two = DeviceClient(broker, "csv-2", lines[2][2])
    assert two.has_ended.wait(30)
    two.close()
