"""Tests the store of enrolments with the rights of the gateway and of `towntwin access` alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres.enrolments import (
    EnrolmentCode,
    EnrolmentQuery,
    EnrolmentStore,
    NewProposal,
    ProposalOutcome,
    ProposedChannel,
)
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.ingest_service.storage.test_database_roles import working_as
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.throwaway_servers import PostgresServer

AREA = Area(area_id="t1", level="town", en="T", zh="镇")
SITE = Site(site_id="s1", area_id="t1", kind="river_section", en="S", zh="S", lon=120.0, lat=30.0)
CODE = EnrolmentCode(
    code_id="0f3a5c9d2e71",
    hash="h",
    area_id="t1",
    devices=2,
    created_by="tests",
    expires_s=time.time() + 3600,
)


def proposal(device: str, credential: str = "password") -> NewProposal:
    return NewProposal(
        device_id=device,
        credential=credential,  # type: ignore[arg-type]
        token_hash="t",  # noqa: S106 - no hash of any token
        request=None,
        channels=[ProposedChannel(name="ph", unit="pH", value=7.0)],
        agent="a",
        address="192.0.2.7",
    )


def confirmed(device: str) -> Directory:
    return Directory(
        devices=[Device(device_id=device, area_id="t1")],
        series=[Series(site_id="s1", quantity="ph", limits={"suspect_low": 5.0})],
        channels=[Channel(device_id=device, name="ph", site_id="s1", quantity="ph")],
    )


@pytest.fixture(scope="module")
def opened(plain_server: PostgresServer) -> Iterator[tuple[EnrolmentStore, EnrolmentStore, str]]:
    """The store as the gateway's user and as that of `towntwin access`, and the owner's address."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        owner = PostgresStore.open(dsn)
        owner.enrol(Directory(areas=[AREA, Area(area_id="t2", level="town", en="U", zh="U")], sites=[SITE]))
        owner.enrol(Directory(devices=[Device(device_id="elsewhere", area_id="t2")]))
        owner.close()
        with working_as("gateway", dsn) as gateway, working_as("access", dsn) as access:
            yield EnrolmentStore(gateway), EnrolmentStore(access), dsn


@pytest.fixture
def stores(
    opened: tuple[EnrolmentStore, EnrolmentStore, str],
) -> tuple[EnrolmentStore, EnrolmentStore, str]:
    """The same, without enrolments."""
    with psycopg.connect(opened[2]) as connection:
        connection.execute("TRUNCATE enrolment, enrolment_code")
    return opened


def test_an_enrolment_passes_from_the_gateway_to_the_broker_with_the_rights_of_both(
    stores: tuple[EnrolmentStore, EnrolmentStore, str],
) -> None:
    gateway, access, dsn = stores
    gateway.create_code(CODE)
    number = gateway.propose(CODE, proposal("d1")).enrolment_id
    assert number is not None
    assert gateway.propose(CODE, proposal("d1")) == ProposalOutcome(reason="device")
    assert gateway.propose(CODE, proposal("elsewhere")) == ProposalOutcome(reason="area")
    assert gateway.propose(CODE, proposal("d2", "certificate")).enrolment_id is not None
    assert gateway.propose(CODE, proposal("d3")) == ProposalOutcome(reason="code")
    assert [one.device_id for one in gateway.enrolments(EnrolmentQuery())] == ["d2", "d1"]
    assert not gateway.deliver_password(number, "early")
    assert gateway.confirm(number, confirmed("d1"), who="w", note="n")
    assert not gateway.confirm(number, confirmed("d1"), who="w", note="n")
    assert access.pending() == []
    assert gateway.deliver_password(number, "secret")
    (pending,) = access.pending()
    assert (pending.device_id, pending.password) == ("d1", "secret")
    access.record_failed(number, "away")
    found = gateway.enrolment(number)
    assert found is not None
    assert (found.access, found.access_error) == ("pending", "away")
    gateway.deliver_password(number, "another")
    assert not access.record_granted(pending, None), "the password changed meanwhile"
    assert access.record_granted(access.pending()[0], None)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM enrolment WHERE password IS NOT NULL").fetchone() == (
            0,
        )
    (entitled,) = access.should_have_access()
    assert entitled.device_id == "d1"
    access.record_lost(number, "lost")
    assert gateway.revoke(number, who="w", note="gone")
    assert access.record_withdrawn(number)
    found = gateway.enrolment(number)
    assert found is not None
    assert (found.state, found.access, found.note) == ("revoked", "withdrawn", "gone")


def test_a_certificate_is_renewed_collected_and_watched_with_the_rights_of_each_process(
    stores: tuple[EnrolmentStore, EnrolmentStore, str],
) -> None:
    gateway, access, dsn = stores
    gateway.create_code(CODE)
    number = gateway.propose(
        CODE, msgspec.structs.replace(proposal("d1", "certificate"), request="r")
    ).enrolment_id
    assert number is not None
    assert gateway.confirm(number, confirmed("d1"), who="w", note="n")
    day_s, now_s = 86_400.0, time.time()
    assert access.certificates_due(now_s + 1e9) == [], "it has none yet"
    assert access.record_granted(access.pending()[0], "one", now_s + 5 * day_s)
    assert access.certificates_due(now_s + day_s) == []
    (due,) = access.certificates_due(now_s + 60 * day_s)
    assert (due.device_id, due.request, due.certificate) == ("d1", "r", "one")
    assert access.record_renewed(number, "two", ends_s=now_s + 800 * day_s, held_ends_s=now_s + 5 * day_s)
    assert access.certificates_due(now_s + 60 * day_s) == []
    with working_as("analytics", dsn) as service:
        watch = EnrolmentStore(service)
        (ending,) = watch.certificates_ending(now_s + 30 * day_s)
        assert [ending.device_id, ending.ends_s] == ["d1", pytest.approx(now_s + 5 * day_s)]
        assert gateway.record_collected(number)
        assert not gateway.record_collected(number)
        assert watch.certificates_ending(now_s + 30 * day_s) == []
    assert gateway.revoke(number, who="w", note="gone")
    assert not access.record_renewed(number, "three", ends_s=now_s, held_ends_s=now_s)


def test_the_gateway_reads_no_password(stores: tuple[EnrolmentStore, EnrolmentStore, str]) -> None:
    gateway, _, dsn = stores
    own = make_conninfo(dsn, user="tests_gateway")
    with psycopg.connect(own) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT password FROM enrolment")
    assert gateway.enrolments(EnrolmentQuery()) == []


def test_old_proposals_and_codes_end(stores: tuple[EnrolmentStore, EnrolmentStore, str]) -> None:
    gateway, _, dsn = stores
    gateway.create_code(CODE)
    gateway.propose(CODE, proposal("d1"))
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE enrolment SET proposed = now() - interval '8 days'")
    assert gateway.propose(CODE, proposal("d1")).enrolment_id is not None, "the old one is forgotten"
    late = EnrolmentCode(
        code_id="000000000001", hash="h", area_id="t1", devices=2, created_by="tests", expires_s=1.0
    )
    gateway.create_code(late)
    assert gateway.propose(late, proposal("d4")) == ProposalOutcome(reason="code")
    assert gateway.revoke_code(CODE.code_id)
    assert not gateway.revoke_code(CODE.code_id)
    assert gateway.propose(CODE, proposal("d5")) == ProposalOutcome(reason="code")
    assert [one.proposals for one in gateway.codes(["t1"])] == [0, 2]
    assert gateway.codes(["t2"]) == []
