"""Tests the reconnection back-off: each failed or short-lived connection lengthens the wait."""

from __future__ import annotations

import pytest

from edge.agent.connection_state import (
    CONNACK_TIMEOUT_S,
    STABLE_AFTER_S,
    TAKEN_OVER,
    TAKEOVER_STABLE_AFTER_S,
    ConnectionEnd,
    ConnectionState,
)
from edge.wire.backoff import Backoff

HOUR_S = 3600.0


def connects_in_an_hour(
    end: ConnectionEnd, *, lives_s: float = 0.0, progress: bool = False, code: int = 0
) -> int:
    """How many connections an hour sees if each ends like this."""
    connection, now_s, connects = ConnectionState(), 0.0, 0
    while now_s < HOUR_S:
        now_s += connection.wait_s(now_s)
        connection.opened(now_s)
        connects += 1
        if end not in (
            ConnectionEnd.UNREACHABLE,
            ConnectionEnd.REFUSED,
            ConnectionEnd.UNANSWERED,
            ConnectionEnd.SILENT,
        ):
            connection.accepted(now_s)
        if progress:
            connection.receipt_arrived()
        now_s += lives_s
        connection.ended(end, now_s, jitter=0.99, code=code)
    return connects


@pytest.mark.parametrize("end", ConnectionEnd)
def test_a_broker_that_ends_every_connection_at_once_is_not_stormed(end: ConnectionEnd) -> None:
    assert connects_in_an_hour(end) < 250, "5,449 in three seconds were seen; 15 s are the shortest long wait"


def test_two_clients_of_one_id_do_not_throw_each_other_out_many_times_a_second() -> None:
    for lives_s in (0.0, STABLE_AFTER_S, 30.0):
        waits_seen = connects_in_an_hour(
            ConnectionEnd.DISCONNECTED, lives_s=lives_s, progress=True, code=TAKEN_OVER
        )
        assert waits_seen < 250


def test_a_connection_that_proved_itself_makes_the_next_wait_short() -> None:
    for lives_s, progress in ((STABLE_AFTER_S, False), (0.1, True)):
        connection = failed_often()
        connection.opened(1000)
        connection.accepted(1000)
        if progress:
            connection.receipt_arrived()
        assert connection.ended(ConnectionEnd.LOST, 1000 + lives_s, jitter=0).wait_s == 1


def test_one_that_did_not_prove_itself_does_not() -> None:
    connection = failed_often()
    connection.opened(1000)
    connection.accepted(1000)
    assert connection.ended(ConnectionEnd.LOST, 1000 + STABLE_AFTER_S / 2, jitter=0).wait_s == 64


def test_a_take_over_after_a_long_life_is_no_quarrel() -> None:
    connection = failed_often()
    connection.opened(1000)
    connection.accepted(1000)
    assert (
        connection.ended(
            ConnectionEnd.DISCONNECTED, 1000 + TAKEOVER_STABLE_AFTER_S, jitter=0, code=TAKEN_OVER
        ).wait_s
        == 1
    )


def test_a_broker_that_does_not_answer_is_given_up() -> None:
    connection = ConnectionState()
    connection.opened(5)
    assert not connection.overdue(5 + CONNACK_TIMEOUT_S)
    assert connection.overdue(5.1 + CONNACK_TIMEOUT_S)
    connection.accepted(6)
    assert not connection.overdue(500)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (ConnectionEnd.LOST, None),
        (ConnectionEnd.SILENT, None),
        (ConnectionEnd.BROKEN, None),
        (ConnectionEnd.REFUSED, 0x84),
    ],
)
def test_a_port_without_mqtt_5_is_named_in_a_sentence(end: ConnectionEnd, code: int | None) -> None:
    connection = ConnectionState()
    connection.opened(0)
    assert "MQTT 5 port" in connection.ended(end, 0.1, jitter=0, code=code).sentence


def test_a_broker_that_was_lost_later_is_not_blamed_for_its_protocol() -> None:
    connection = ConnectionState()
    connection.opened(0)
    connection.accepted(0)
    assert "MQTT 5" not in connection.ended(ConnectionEnd.LOST, 60, jitter=0).sentence


def failed_often() -> ConnectionState:
    """After six failures: 1, 2, ... 32 s."""
    connection = ConnectionState(Backoff(1, 1000))
    for now_s in range(6):
        connection.opened(now_s)
        connection.ended(ConnectionEnd.UNREACHABLE, now_s, jitter=0)
    return connection
