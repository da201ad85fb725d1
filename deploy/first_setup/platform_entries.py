"""Writes the site file of the answers and makes what they name: entries, credential, channel, key, code."""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from deploy import command_audit, site_files
from deploy.first_setup.answers import AnswerError, split_quantities
from deploy.settings import SettingsError
from gateway.auth import api_keys, enrolment_codes
from gateway.auth.principal import Role
from ingest_service.storage.contract.notifications import NotificationChannel
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.enrolments import EnrolmentStore
from ingest_service.storage.postgres.notifications import NotificationStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.notifications import ChannelKind
    from ingest_service.storage.postgres.store import PostgresStore

PASSWORD_BYTES = 24
CODE_DEVICES, CODE_HOURS = 10, 48.0
KEY_DAYS = 365.0
CHANNEL, ADDRESS_SECRET, SIGNATURE_SECRET = "duty-group", "duty-group-url", "duty-group-sign"


class SetupResult(NamedTuple):
    """What a first set-up has made.

    Attributes
    ----------
    site_file : path of the site file
    password_file : path of the device's password at the broker; None if the device has a credential already
    key : the administrator's, which is not stored as it is
    code : text of an enrolment code for technicians

    """

    site_file: Path
    password_file: Path | None
    key: str
    code: str


def site_file_text(answers: Mapping[str, str]) -> str:
    """Return the site file of the answers (TOML).

    Values are written as JSON strings, which are basic strings of TOML as long as they have no control
    characters; names and ids have none.
    """
    q = {name: json.dumps(value, ensure_ascii=False) for name, value in answers.items()}
    quantities = ", ".join(json.dumps(one) for one in split_quantities(answers["quantities"]))
    return f"""# Written by `towntwin setup`. Change it, then: towntwin enrol FILE

[defaults]
area_id = {q["town"]}
interval_s = {float(answers["interval_s"]):g}

[[areas]]
area_id = {q["county"]}
level = "county"
en = {q["county_en"]}
zh = {q["county_zh"]}

[[areas]]
area_id = {q["town"]}
parent = {q["county"]}
level = "town"
en = {q["town_en"]}
zh = {q["town_zh"]}

[[devices]]
device_id = {q["device"]}
area_id = {q["town"]}

[[sites]]
site_id = {q["site"]}
kind = {q["site_kind"]}
en = {q["site_en"]}
zh = {q["site_zh"]}
lon = {float(answers["lon"])!r}
lat = {float(answers["lat"])!r}
device = {q["device"]}
quantities = [{quantities}]
"""


def make_entries(
    store: PostgresStore, answers: Mapping[str, str], folder: Path, secrets_folder: Path | None
) -> SetupResult:
    """Make everything that the answers name; what was made before a failure is found by the next run.

    The site file gets its name last, so that a run that failed can be repeated.

    Raises
    ------
    AnswerError
        If the town has a site file already, or another town has the site or the device.
    SettingsError
        If the answers contradict what is enrolled, or a file can't be written.

    """
    site_file = folder / f"{answers['town']}.toml"
    if site_file.exists():
        raise AnswerError(
            f"{site_file} is there: the town is set up. Change it and run `towntwin enrol {site_file}`",
            f"{site_file} 已存在：该乡镇已完成设置。请修改该文件，再对其运行 `towntwin enrol`",
        )
    _check_is_free(store.directory(), answers)
    with _writing(folder):
        staged = site_file.with_name(site_file.name + ".new")
        staged.write_text(site_file_text(answers), "utf-8")
        try:
            directory = site_files.load_site_files([staged], store.directory())
        except site_files.SiteFileError as error:
            staged.unlink()
            raise SettingsError(str(error)) from error
        store.enrol(directory)
        password_file = _give_password(store, answers, folder)
        _make_channel(store, answers, secrets_folder)
        code = _make_code(store, answers)
        key = _make_key(store, answers)
        command_audit.record_command(
            store, "setup", f"{answers['town']} {answers['site']} {answers['device']}"
        )
        staged.replace(site_file)
    return SetupResult(site_file, password_file, key, code)


def _check_is_free(directory: Directory, answers: Mapping[str, str]) -> None:
    """Raise `AnswerError` for a site or device of another town: enrolling it here would move it."""
    owners = {("site", one.site_id): one.area_id for one in directory.sites}
    owners |= {("device", one.device_id): one.area_id for one in directory.devices}
    for kind in ("site", "device"):
        owner = owners.get((kind, answers[kind]), answers["town"])
        if owner != answers["town"]:
            raise AnswerError(
                f"--{kind}: {answers[kind]} is in {owner} already: choose another id",
                f"--{kind}：编号 {answers[kind]} 已用于 {owner}：请换一个编号",
            )


def _give_password(store: PostgresStore, answers: Mapping[str, str], folder: Path) -> Path | None:
    """Give the device a password at the broker, in a file that its owner alone may read.

    The file of a run that failed afterwards is kept: the database may have its password already.
    """
    path = folder / f"{answers['device']}.password"
    kept = path.read_text("utf-8").strip() if path.exists() else ""
    password = kept or secrets.token_urlsafe(PASSWORD_BYTES)
    if not kept:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(password + "\n")
    device = (answers["town"], answers["device"], password)
    if EnrolmentStore(store).add_confirmed([device], who=command_audit.command_principal()) and not kept:
        path.unlink()
        return None
    return path


def _make_channel(store: PostgresStore, answers: Mapping[str, str], secrets_folder: Path | None) -> None:
    """Make the channel of the duty group; its secrets go to the service's folder, and nowhere else."""
    if answers["messenger"] == "none":
        return
    if secrets_folder is None:
        raise SettingsError("--messenger: name the folder of the service's secrets by --secrets-folder")
    folder = secrets_folder / answers["town"]
    signature = answers.get("messenger_signature")
    mask = os.umask(0o027)  # the service reads by the group that the folder passes on
    try:
        folder.mkdir(exist_ok=True)
        (folder / ADDRESS_SECRET).write_text(answers["messenger_address"] + "\n", "utf-8")
        if signature is not None:
            (folder / SIGNATURE_SECRET).write_text(signature + "\n", "utf-8")
    finally:
        os.umask(mask)
    channel = NotificationChannel(
        channel_id=f"{answers['town']}-{CHANNEL}",
        area_id=answers["town"],
        kind=cast("ChannelKind", answers["messenger"]),  # one of the checked choices
        en="Duty group",
        zh="值班群",
        url_secret=ADDRESS_SECRET,
        sign_secret=None if signature is None else SIGNATURE_SECRET,
    )
    NotificationStore(store).replace_channel(channel)


def _make_code(store: PostgresStore, answers: Mapping[str, str]) -> str:
    code, text = enrolment_codes.make_code(
        answers["url"],
        area_id=answers["town"],
        devices=CODE_DEVICES,
        expires_s=time.time() + CODE_HOURS * 3600.0,
        created_by=command_audit.command_principal(),
    )
    EnrolmentStore(store).create_code(code)
    return text


def _make_key(store: PostgresStore, answers: Mapping[str, str]) -> str:
    _, text = api_keys.create_key(
        ApiKeyStore(store),
        name=answers["administrator"],
        role=Role.ADMINISTRATOR,
        created_by=command_audit.command_principal(),
        expires_s=time.time() + KEY_DAYS * 86_400.0,
    )
    return text


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise SettingsError(
            f"{error.filename or folder}: can't be written ({error.strerror}): mend that or name others"
            " by --site-folder and --secrets-folder; then run it again"
        ) from error
