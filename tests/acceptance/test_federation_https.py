"""Tests that a county has what its town has, once, where the town forwards by HTTPS to its gateway."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from edge.wire import federation
from edge.wire.broker_address import BrokerAddress
from edge.wire.federation_uplink import PATH
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.federation.https_publisher import CountyAddress
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.federation_commands import IssuedCommand
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.federation_commands import FederationCommands
from tests.support.federated_platforms import forwarding, receiving
from tests.support.federated_towns import (
    BOX,
    COUNTY,
    COUNTY_DIRECTORY,
    OTHER_BOX,
    OTHER_TOWN,
    TOWN,
    definitions,
)
from tests.support.federation_rows import COUNT, WITHIN_S, add_readings, opened, rows_of, wait_until_equal
from tests.support.https_gateway import HttpsGateway
from tests.support.processes import running_processes, wait_until
from tests.support.store_samples import DIRECTORY, readings
from tests.support.tcp_proxy import Proxy
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_BROKER = BrokerAddress("127.0.0.1", 1)
"""The county's receiver has no broker here: HTTPS needs none."""


class HttpsCounty:
    """A county's gateway that serves HTTPS, with the rights of its role, behind a line that can be cut."""

    def __init__(self, county: str, gateway_dsn: str, receiver_dsn: str, folder: Path) -> None:
        self.dsn, self.receiver_dsn, self.folder = county, receiver_dsn, folder
        self.gateway = HttpsGateway(county, gateway_dsn, folder)
        self.new_key = self.gateway.new_key
        self.line = Proxy("127.0.0.1", self.gateway.port)
        self.url = f"https://127.0.0.1:{self.line.port}"
        self.address = CountyAddress(self.url, self.gateway.certificate, folder / "town.key")
        self.trust = ssl.create_default_context(cafile=self.gateway.certificate)
        with opened(county) as store:
            store.enrol(COUNTY_DIRECTORY)
        self.key = self.new_key(TOWN)
        (folder / "town.key").write_text(self.key)

    def post(self, body: Any, key: str | None = None) -> tuple[int, Any]:
        """Post a body, JSON or bytes; return status and response."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", "X-API-Key": key or self.key}
        request = urllib.request.Request(self.url + PATH, content, headers)  # noqa: S310 - https
        try:
            with urllib.request.urlopen(request, timeout=20, context=self.trust) as response:  # noqa: S310
                return response.status, msgspec.json.decode(response.read())
        except urllib.error.HTTPError as error:
            return error.code, msgspec.json.decode(error.read())

    def answers(self) -> bool:
        try:
            return self.post({"device": BOX, "epoch": "none", "messages": []})[0] == 200
        except OSError:
            return False


@contextmanager
def login_of(dsn: str, role: str) -> Iterator[str]:
    """The DSN of a user who has a role of the platform and no other right."""
    user = f"tests_https_{role}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"DROP ROLE IF EXISTS {user}")
        owner.execute(f"CREATE ROLE {user} LOGIN IN ROLE towntwin_{role}")
        try:
            yield make_conninfo(dsn, user=user)
        finally:
            owner.execute(f"DROP OWNED BY {user} CASCADE")
            owner.execute(f"DROP ROLE {user}")


@pytest.fixture(scope="module")
def county(timescale_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsCounty]:
    with ExitStack() as stack:
        dsn = stack.enter_context(fresh_database(timescale_server))
        gateway, receiver = (stack.enter_context(login_of(dsn, role)) for role in ("gateway", "ingest"))
        found = HttpsCounty(dsn, gateway, receiver, tmp_path_factory.mktemp("county"))
        stack.callback(found.line.close)
        stack.enter_context(running_processes(found.gateway.process))
        wait_until(found.answers, within_s=WITHIN_S, what="the gateway answers")
        yield found


def test_readings_reach_the_county_once_by_https_through_cuts_within_an_answer(
    county: HttpsCounty, timescale_dsn: str
) -> None:
    town = timescale_dsn
    with opened(town) as store:
        store.enrol(DIRECTORY)
    add_readings(town, Batch(fresh=readings(1, range(4000))))
    records = county.line.record()
    with (
        receiving(county.receiver_dsn, NO_BROKER),
        forwarding(town, county.address, county.folder, TOWN, BOX, commands=["limits"]),
    ):
        wait_until_equal(town, county.dsn)

        county.line.refuse()
        limits = {"site_id": "s1", "quantity": "ph", "limits": {"fail_high": 9.5}}
        with opened(county.dsn) as store:
            FederationCommands(store).issue(
                IssuedCommand(area_id=TOWN, device_id=BOX, kind="limits", content=limits, who="Li")
            )
        add_readings(town, Batch(fresh=readings(1, range(4000, 6000))))
        county.line.restore()
        wait_until_equal(town, county.dsn)

        answered = min(sum(len(data) for is_sent, data in one if not is_sent) for one in records[-2:])
        for first in (6000, 7000):
            cut = county.line.cut_in_answer(answered - 40)
            add_readings(town, Batch(fresh=readings(1, range(first, first + 1000))))
            wait_until(cut.is_set, within_s=WITHIN_S, what="an answer is cut")
        wait_until_equal(town, county.dsn)
        wait_until(
            lambda: rows_of(county.dsn, "SELECT state FROM federation_command") == [("applied",)],
            within_s=WITHIN_S,
            what="the town has applied the command",
        )
        wait_until(
            lambda: rows_of(town, "SELECT count(*) FROM federation_due") == [(0,)],
            within_s=WITHIN_S,
            what="nothing waits",
        )
    assert rows_of(county.dsn, COUNT) == [(8000,)]
    assert rows_of(county.dsn, "SELECT count(*) FROM federation_inbox WHERE payload <> ''") == [(0,)]
    with opened(county.dsn) as store:
        assert store.dead_letters(DeadLetterQuery()) == []


def test_a_repeated_batch_is_stored_once_and_has_its_receipts_again(county: HttpsCounty) -> None:
    message = federation.encode_message(definitions(area=OTHER_TOWN, prefix="o-")).decode()
    body = {
        "device": OTHER_BOX,
        "epoch": "repeated",
        "messages": [{"number": 1, "payload": message}, {"number": 2, "payload": "nothing"}],
    }
    key = county.new_key(OTHER_TOWN)
    with receiving(county.receiver_dsn, NO_BROKER):
        first, second = county.post(body, key), county.post(body, key)
    assert first == second
    (receipt,) = first[1]["receipts"]
    assert (first[0], receipt["kept"]) == (200, [[1, 2]])
    assert [(one["number"], one["reason"]) for one in receipt["refused"]] == [(2, "payload")]
    with opened(county.dsn) as store:
        assert [one.reason for one in store.dead_letters(DeadLetterQuery())] == ["payload"]
        assert store.directory().origins["o-s1"] == OTHER_BOX


def test_a_town_can_not_write_for_another_town_and_no_other_key_forwards(county: HttpsCounty) -> None:
    body = {"device": BOX, "epoch": "wrong", "messages": [{"number": 1, "payload": "{}"}]}
    wrong_keys = {
        "the other town's": (county.new_key(OTHER_TOWN), "is none that forwards for the area"),
        "the county's": (county.new_key(COUNTY), "is none that forwards for the area"),
        "of all areas": (county.new_key(None), "is none that forwards for the area"),
        "of another scope": (county.new_key(TOWN, "readings"), "federation"),
        "a sensor": (county.key, "is none that forwards"),
    }
    for owner, (key, detail) in wrong_keys.items():
        device = "sonde" if owner == "a sensor" else BOX
        status, problem = county.post(body | {"device": device}, key)
        assert (status, detail in problem["detail"]) == (403, True), (owner, problem)
    with opened(county.dsn) as store:
        _, text = api_keys.create_key(
            ApiKeyStore(store), name="root", role=Role.ADMINISTRATOR, created_by="tests"
        )
    status, problem = county.post(body, text)
    assert (status, "is not made for forwarding" in problem["detail"]) == (403, True)
    assert county.post(body, "tt_nothing")[0] == 401
    assert rows_of(county.dsn, "SELECT count(*) FROM federation_inbox WHERE epoch = 'wrong'") == [(0,)]


def test_a_hostile_body_gets_a_clear_error(county: HttpsCounty) -> None:
    body = {"device": BOX, "epoch": "hostile", "messages": []}
    message = {"number": 1, "payload": "{}"}
    cases: list[tuple[Any, int, str]] = [
        (b"", 422, "body"),
        (b"\xff\xfe", 422, "is no JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (
            b'{"device": "box-1", "epoch": "e", "messages": [{"number": 1, "payload": "\\ud800"}]}',
            422,
            "payload",
        ),
        (body | {"messages": [message] * 201}, 422, "messages"),
        (body | {"messages": [message | {"number": -1}]}, 422, "number"),
        (body | {"epoch": "\u0000"}, 422, "epoch"),
        (body | {"messages": [message | {"payload": "x" * 9_000_000}]}, 413, "larger than"),
    ]
    for content, expected, detail in cases:
        status, problem = county.post(content)
        assert (status, detail in problem["detail"]) == (expected, True), problem
    assert rows_of(county.dsn, "SELECT count(*) FROM federation_inbox WHERE epoch = 'hostile'") == [(0,)]


def test_messages_wait_for_a_receiver_that_is_away_up_to_a_bound(county: HttpsCounty) -> None:
    messages = [{"number": number, "payload": "{}"} for number in range(200)]
    with psycopg.connect(county.dsn) as connection:
        connection.execute(
            "INSERT INTO federation_inbox (device_id, area_id, epoch, number, payload)"
            " SELECT %s, %s, 'full', n, '{}' FROM generate_series(1, 400) AS n",
            (BOX, TOWN),
        )
    status, problem = county.post({"device": BOX, "epoch": "more", "messages": messages})
    assert (status, "start `towntwin federate receive`" in problem["detail"]) == (503, True)
    with psycopg.connect(county.dsn) as connection:
        connection.execute("DELETE FROM federation_inbox WHERE epoch = 'full'")
