"""Runs `towntwin edge enrol`: proposes this device to the platform, and collects what it needs to connect.

`towntwin federate enrol` does the same for a town's platform at its county, without a site file.
The device makes its own password or key. A password leaves it once an operator has confirmed the device, a
key never. A run that ends early goes on where it was at the next run.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import ssl
import sys
import time
from contextlib import suppress
from http.client import HTTPException
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

from deploy.errors import DeployError
from deploy.settings import SettingsError
from edge.drivers.site_drivers import BrokerTable, DeviceFileError, build_drivers, read_site_file

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from deploy.enrolment_settings import EnrolSettings
    from edge.drivers.site_drivers import DeviceFile

log = logging.getLogger(__name__)

CODE_VARIABLE = "TOWNTWIN_ENROLMENT_CODE"
CODE_MARK = "#tte_"
ANSWER_S = 15.0
MAX_ANSWER_BYTES = 1 << 20
POLL_S = 2.0
PASSWORD_BYTES = 24
MAX_CHANNELS = 64
FORWARDER_NAME = "box"  # of the files of a town's forwarder, whatever its device is called

Channels = dict[str, dict[str, Any]]


class _State(msgspec.Struct, kw_only=True):
    """A proposal that goes on at the next run, in a file that its owner alone may read."""

    url: str
    enrolment_id: int
    token: str
    credential: Literal["password", "certificate"]
    password: str | None = None


class _Files:
    """The files in a folder, those of the device by its name or another one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.state = folder / f"{name}.enrolment"
        self.renewal = folder / f"{name}.renewal"
        self.password = folder / f"{name}.password"
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.crt"
        self.ca = folder / "broker-ca.crt"


def enrol_device(site_path: Path, settings: EnrolSettings, stop: threading.Event) -> int:
    """Propose the device of a site file, wait for the decision, and write what it needs to connect.

    The exit code is 0 once the device can connect, and 1 if it is refused or the wait is over.
    """
    try:
        site = read_site_file(site_path)
    except DeviceFileError as error:
        raise SettingsError(str(error)) from error
    if site.broker is not None:
        raise SettingsError(
            f"{site_path} has a table [broker]: the device is enrolled; to enrol it anew, remove that table"
        )
    files = _Files(site_path.parent, site.device)

    def sample_channels() -> Channels:
        return _sample_channels(site, site_path.parent, settings.sample_s, stop)

    def write_table(table: dict[str, str]) -> None:
        _append_broker(site_path, table)
        print(f"device {site.area}/{site.device} is enrolled: towntwin edge run {site_path}", flush=True)

    return _enrol(
        (site.area, site.device),
        files,
        settings,
        stop,
        sample_channels=sample_channels,
        write_table=write_table,
    )


def enrol_forwarder(
    folder: Path, area: str, device: str, settings: EnrolSettings, stop: threading.Event
) -> int:
    """Propose a town's forwarder to its county, wait for the decision, and write its certificate and key.

    The files are ``box.crt``, ``box.key`` and ``broker-ca.crt`` in ``folder``. It has no channels, and always
    a certificate. The exit code is 0 once it can connect, and 1 if it is refused or the wait is over.
    """
    files = _Files(folder, FORWARDER_NAME)
    if files.certificate.exists():
        raise SettingsError(
            f"{files.certificate} is there: the forwarder is enrolled; to enrol it anew, remove that file"
        )

    def write_table(table: dict[str, str]) -> None:
        print(f"device {area}/{device} is enrolled; files for the county's broker in {folder}:")
        print("\n".join(f"  {name}: {value}" for name, value in table.items()), flush=True)

    settings = msgspec.structs.replace(settings, credential="certificate")
    return _enrol((area, device), files, settings, stop, sample_channels=dict, write_table=write_table)


def _enrol(
    identity: tuple[str, str],
    files: _Files,
    settings: EnrolSettings,
    stop: threading.Event,
    *,
    sample_channels: Callable[[], Channels],
    write_table: Callable[[dict[str, str]], None],
) -> int:
    """Propose a device (area, id) and collect the decision on it; see `enrol_device`."""
    state = _load_state(files.state)
    if state is None:
        state = _propose(identity, files, settings, sample_channels)
    context = _tls_context(settings)
    name = "/".join(identity)
    print(f"device {name} is proposed; an operator confirms it on the platform", flush=True)
    ends_s = time.monotonic() + settings.wait_s
    while True:
        collected = _collect(state, files, context)
        if collected["state"] in {"rejected", "revoked"}:
            files.state.unlink(missing_ok=True)
            note = f": {collected['note']}" if collected["note"] else ""
            print(f"towntwin: the device was {collected['state']}{note}", file=sys.stderr)
            return 1
        if collected["access"] in {"granted", "open"}:
            write_table(_write_credentials(files, state, collected))
            files.state.unlink(missing_ok=True)
            return 0
        if time.monotonic() >= ends_s or stop.wait(POLL_S):
            print("towntwin: not confirmed yet: run the same command again to go on", file=sys.stderr)
            return 1


def renew_certificate(site_path: Path, settings: EnrolSettings) -> int:
    """Collect the device's certificate if the platform has issued it anew; the key stays.

    A running agent uses it from its next connection on. The exit code is 1 if the device was revoked.
    """
    try:
        site = read_site_file(site_path)
    except DeviceFileError as error:
        raise SettingsError(str(error)) from error
    return _renew(_Files(site_path.parent, site.device), settings, "edge enrol --credential certificate")


def renew_forwarder(folder: Path, settings: EnrolSettings) -> int:
    """Collect the certificate of a town's forwarder if the county has issued it anew."""
    return _renew(_Files(folder, FORWARDER_NAME), settings, "federate enrol")


def _renew(files: _Files, settings: EnrolSettings, written_by: str) -> int:
    state = _load_state(files.renewal)
    if state is None:
        raise SettingsError(
            f"{files.renewal} is missing: it is written by `towntwin {written_by}`; enrol the device anew"
        )
    try:
        collected = _call(
            f"{state.url}/v1/enrolments/{state.enrolment_id}/collect",
            {"token": state.token},
            _tls_context(settings),
        )
    except _AwayError as error:
        raise SettingsError(str(error)) from error
    if collected["state"] != "confirmed":
        print(f"towntwin: the device was {collected['state']}: enrol it anew", file=sys.stderr)
        return 1
    certificate = (collected["certificate"] or "").encode()
    try:
        is_new = bool(certificate) and certificate != files.certificate.read_bytes()
    except OSError:
        is_new = bool(certificate)
    if is_new:
        _replace_certificate(files, certificate)
    print(f"{files.certificate}: {'renewed' if is_new else 'there is no newer one'}", flush=True)
    return 0


def _replace_certificate(files: _Files, certificate: bytes) -> None:
    """Write a certificate that belongs to the device's key. Raises `SettingsError`."""
    staging = files.certificate.with_name(files.certificate.name + ".collected")
    _write(staging, certificate)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(staging, files.key)
        if files.certificate.exists():
            old, new = files.certificate.stat(), staging.stat()
            staging.chmod(old.st_mode & 0o777)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):  # the unit allows no chown
                os.chown(staging, old.st_uid, old.st_gid)
        staging.replace(files.certificate)
    except (OSError, ssl.SSLError) as error:
        staging.unlink(missing_ok=True)
        raise SettingsError(
            f"{files.certificate}: the collected certificate can't be used with {files.key} ({error}): enrol"
            " the device anew"
        ) from error


# -- proposing ---------------------------------------------------------------------------------------


def _propose(
    identity: tuple[str, str],
    files: _Files,
    settings: EnrolSettings,
    sample_channels: Callable[[], Channels],
) -> _State:
    area, device = identity
    url, code = _read_code()
    channels = sample_channels()
    for name, sample in channels.items():
        print(f"  {name}: {sample.get('value', 'no value')} {sample.get('unit') or ''}".rstrip())
    request = _make_request(files, device) if settings.credential == "certificate" else None
    body = {
        "code": code,
        "area": area,
        "device": device,
        "credential": settings.credential,
        "request": request,
        "channels": [{"name": name, **sample} for name, sample in channels.items()],
        "agent": f"towntwin {version('towntwin')}",
    }
    try:
        answer = _call(f"{url}/v1/enrolments", body, _tls_context(settings))
    except _AwayError as error:
        raise SettingsError(str(error)) from error
    state = _State(
        url=url,
        enrolment_id=answer["enrolment_id"],
        token=answer["token"],
        credential=settings.credential,
        password=secrets.token_urlsafe(PASSWORD_BYTES) if settings.credential == "password" else None,
    )
    _write(files.state, msgspec.json.encode(state))
    return state


def _read_code() -> tuple[str, str]:
    """Return the address of the platform and the code, from the environment or standard input."""
    text = os.environ.get(CODE_VARIABLE, "")
    if not text:
        print("enrolment code (scan or paste it): ", end="", file=sys.stderr, flush=True)
        text = sys.stdin.readline() if sys.stdin is not None else ""
    url, mark, code = text.strip().partition(CODE_MARK)
    url = url.rstrip("/")
    if not mark or urlsplit(url).scheme not in {"http", "https"}:
        raise SettingsError(
            f"the enrolment code looks like https://HOST{CODE_MARK}…: paste all of it, or put it in"
            f" {CODE_VARIABLE}"
        )
    return url, f"{CODE_MARK[1:]}{code}"


def _sample_channels(site: DeviceFile, folder: Path, sample_s: float, stop: threading.Event) -> Channels:
    """Run the drivers for a time; return unit and newest value of each channel by name."""
    try:
        drivers = build_drivers(site, folder, lambda sentence: log.warning("%s", sentence))
    except DeviceFileError as error:
        raise SettingsError(str(error)) from error
    channels: Channels = {}
    ends_s = time.monotonic() + sample_s
    try:
        for pack in drivers.packs():
            for record in pack.records if pack is not None else ():
                if record.name in channels or len(channels) < MAX_CHANNELS:
                    channels[record.name] = {"unit": record.unit, "value": record.value}
            if time.monotonic() >= ends_s or stop.is_set():
                break
    except ValueError as error:  # of a driver that failed: the others have been read
        log.warning("%s", error)
    return channels


def _make_request(files: _Files, device: str) -> str:
    """Make a key and its signing request; the key of an earlier run is replaced."""
    try:
        from deploy.device_access.certificate_authority import make_request  # noqa: PLC0415 - an extra of its own
    except ImportError as error:
        raise SettingsError(
            'a certificate needs the package cryptography: pip install "towntwin[certificates]"'
        ) from error
    request, key = make_request(device)
    _write(files.key, key)
    return request.decode()


# -- collecting --------------------------------------------------------------------------------------


def _collect(state: _State, files: _Files, context: ssl.SSLContext | None) -> dict[str, Any]:
    """Return the state of the enrolment; deliver the password once it is confirmed (again, if it got lost).

    While the platform is away the state is as if nothing had changed.
    """
    url = f"{state.url}/v1/enrolments/{state.enrolment_id}/collect"
    try:
        collected = _call(url, {"token": state.token}, context)
        is_due = collected["state"] == "confirmed" and collected["access"] == "none"
        if is_due and state.password is not None:
            collected = _call(url, {"token": state.token, "password": state.password}, context)
    except _AwayError as error:
        log.warning("%s", error)
        return {"state": "proposed", "access": "none", "note": ""}
    except SettingsError:
        files.state.unlink(missing_ok=True)  # the proposal was deleted: the next run proposes again
        raise
    return collected


def _write_credentials(files: _Files, state: _State, collected: dict[str, Any]) -> dict[str, str]:
    """Write the credentials; return the table [broker] with their names."""
    address = collected["broker"]
    if not address:
        raise SettingsError(
            "the platform names no broker: set TOWNTWIN_GATEWAY_DEVICE_BROKER there, and"
            " TOWNTWIN_GATEWAY_DEVICE_CERTIFICATE_BROKER for devices with certificates"
        )
    table = {"address": address}
    if collected["ca"] and address.startswith("mqtts:"):
        _write(files.ca, collected["ca"].encode())
        table["ca"] = files.ca.name
    if collected["access"] == "open":
        print("the broker has no access control: any device can publish under this name")
    elif state.password is not None:
        _write(files.password, f"{state.password}\n".encode())
        table["password_file"] = files.password.name
    elif collected["certificate"]:
        _write(files.certificate, collected["certificate"].encode())
        _write(files.renewal, msgspec.json.encode(state))
        table |= {"certificate": files.certificate.name, "key": files.key.name}
    return table


def _append_broker(site_path: Path, table: dict[str, str]) -> None:
    """Append the table [broker] to the site file."""
    msgspec.convert(table, BrokerTable)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in table.items()]  # a JSON text is one of TOML
    try:
        with site_path.open("a", encoding="utf-8") as file:
            file.write("\n[broker]\n" + "".join(lines))
    except OSError as error:
        raise SettingsError(f"{site_path}: can't be written ({error.strerror})") from error


def _load_state(path: Path) -> _State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f"{path}: can't be read ({error}): delete it to begin anew") from error


def _write(path: Path, content: bytes) -> None:
    """Replace a file by one that its owner alone may read."""
    staging = path.with_name(path.name + ".new")
    try:
        with suppress(FileNotFoundError):
            staging.unlink()
        with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        staging.replace(path)
    except OSError as error:
        raise SettingsError(f"{path}: can't be written ({error.strerror}): check the folder") from error


# -- HTTP --------------------------------------------------------------------------------------------


class _AwayError(DeployError):
    """The platform does not answer."""


def _tls_context(settings: EnrolSettings) -> ssl.SSLContext | None:
    try:
        return None if settings.server_ca is None else ssl.create_default_context(cafile=settings.server_ca)
    except OSError as error:
        raise SettingsError(f"--server-ca={settings.server_ca}: {error}") from error


def _call(url: str, body: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
    """Post a request and return the answer.

    Raises
    ------
    SettingsError
        With the platform's own sentence for a request that it refuses.
    _AwayError
        If it does not answer, or not now.

    """
    request = Request(  # noqa: S310 - the scheme was checked
        url, json.dumps(body).encode(), {"Content-Type": "application/json", "Accept": "application/json"}
    )
    try:
        with urlopen(request, timeout=ANSWER_S, context=context) as response:  # noqa: S310
            return dict(json.loads(response.read(MAX_ANSWER_BYTES)))
    except HTTPError as error:
        detail = _problem_of(error)
        if error.code in {429, 500, 502, 503, 504}:
            raise _AwayError(f"the platform can't answer now: {detail}") from error
        raise SettingsError(f"the platform refuses the enrolment: {detail}") from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise SettingsError(
                f"{url}: the platform's certificate can't be verified ({error.reason}): give the certificate"
                " of its authority by --server-ca"
            ) from error
        raise _AwayError(f"{url} can't be reached: {error.reason}") from error
    except (OSError, HTTPException, ValueError, TypeError) as error:
        raise _AwayError(f"{url} does not answer as the platform does: {error}") from error


def _problem_of(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MAX_ANSWER_BYTES))["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"status {error.code}"
