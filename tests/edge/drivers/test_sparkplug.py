"""Tests the Sparkplug B host application; tests are named after the tck ids of the specification 3.0."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.float32 import shortest_float32
from edge.drivers.registry import DRIVERS
from edge.drivers.sparkplug_host import SparkplugHost, is_offline_state
from edge.drivers.sparkplug_payload import decode_payload, encode_rebirth_request, metric_value
from edge.wire.errors import PayloadError
from tests.edge.drivers.test_mqtt_driver import Reading
from tests.support import sparkplug_node
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.processes import wait_until
from tests.support.sparkplug_node import FLOAT32, FLOAT64, INT32, TEXT, EdgeNode, metric, payload

if TYPE_CHECKING:
    from edge.drivers.sparkplug_host import HostOutcome
    from tests.support.throwaway_servers import MosquittoServer

NODE, SONDE = "plant/pump-house", "plant/pump-house/sonde"
PH, LEVEL = metric(7.1, FLOAT64, "pH", 1), metric(-5, INT32, "level", 2)
STATE_TOPIC = "spBv1.0/STATE/town"


class HostTest:
    """A host application whose clock a test moves."""

    def __init__(self, node: EdgeNode | None = None) -> None:
        self.host, self.node, self.now_s = SparkplugHost(reorder_s=2.0), node or EdgeNode(), 1000.0

    def take(self, message: tuple[str, bytes]) -> HostOutcome:
        return self.host.take(*message, self.now_s)

    def take_births(self) -> HostOutcome:
        self.take(self.node.nbirth())
        return self.take(self.node.message("DBIRTH", PH, LEVEL))

    def after(self, seconds: float) -> HostOutcome:
        self.now_s += seconds
        return self.host.due(self.now_s)


def data(alias: int, value: float, datatype: int = FLOAT64, **others: Any) -> dict[str, Any]:
    """A metric as data messages have it: alias, no name, no data type."""
    return metric(value, datatype, alias=alias, send_type=False, **others)


def found(outcome: HostOutcome) -> list[tuple[str, str, float]]:
    return [(one.source, one.metric, one.value) for one in outcome.values]


# -- births, aliases, data types ---------------------------------------------------------------


def test_payloads_alias_birth_requirement_and_payloads_alias_data_cmd_requirement() -> None:
    test = HostTest()
    assert found(test.take_births()) == [(SONDE, "pH", 7.1), (SONDE, "level", -5.0)]
    outcome = test.take(test.node.message("DDATA", data(2, -7, INT32), data(1, 7.2)))
    assert found(outcome) == [(SONDE, "level", -7.0), (SONDE, "pH", 7.2)]
    assert outcome.faults == []


def test_payloads_alias_uniqueness_of_a_node_that_violates_it() -> None:
    """A value with an alias of two metrics is neither's."""
    test = HostTest()
    test.take(test.node.nbirth(metric(1.0, FLOAT64, "voltage", 1)))
    assert "used twice" in test.take(test.node.message("DBIRTH", PH)).faults[0]
    outcome = test.take(test.node.message("DDATA", data(1, 9.9)))
    assert (found(outcome), outcome.rebirths) == ([], [NODE])


def test_payloads_name_birth_data_requirement_of_metrics_with_and_without_timestamps() -> None:
    test = HostTest()
    test.take_births()
    outcome = test.take(
        test.node.message("DDATA", data(1, 7.0, time_ms=1_790_000_111_500), data(2, 1, INT32))
    )
    assert [one.time_s for one in outcome.values] == [1_790_000_111.5, 1_790_000_000.002]


def test_operational_behavior_data_publish_historical_metrics_keep_their_times() -> None:
    test = HostTest()
    test.take_births()
    old = [data(1, 7.0 + at, time_ms=1_789_000_000_000 + at * 1000, is_historical=True) for at in range(3)]
    outcome = test.take(test.node.message("DDATA", *old))
    assert [(one.is_historical, one.time_s) for one in outcome.values] == [
        (True, 1_789_000_000.0 + at) for at in range(3)
    ]


def test_payloads_propertyset_quality_value_value() -> None:
    test = HostTest()
    test.take_births()
    outcome = test.take(test.node.message("DDATA", data(1, 7.0, quality=500), data(2, 0, INT32, quality=192)))
    assert [one.quality for one in outcome.values] == [500, 192]


def test_payloads_metric_datatype_value_null_text_and_not_a_number_are_no_values() -> None:
    test = HostTest()
    births = [metric(None, FLOAT64, "a", 1), metric("x", TEXT, "b", 2), metric(float("nan"), FLOAT32, "c", 3)]
    assert found(test.take(test.node.nbirth(*births))) == [(NODE, "Node Control/Rebirth", 0.0)]


# -- deaths ------------------------------------------------------------------------------------


def test_operational_behavior_edge_node_termination_host_action_ndeath_node_and_devices_offline() -> None:
    test = HostTest()
    test.take_births()
    assert test.host.is_online(NODE)
    assert test.host.is_online(SONDE)
    assert "offline" in test.take(test.node.ndeath()).faults[0]
    assert not test.host.is_online(NODE)
    assert not test.host.is_online(SONDE)
    outcome = test.take(test.node.message("DDATA", data(1, 7.0)))
    assert (found(outcome), outcome.rebirths) == ([], [NODE])


def test_payloads_ndeath_bdseq_of_an_earlier_session_has_no_effect() -> None:
    """A will may be published after the next birth."""
    test = HostTest()
    test.node.bd_seq = 8
    test.take_births()
    assert test.take(test.node.ndeath(bd_seq=7)).faults == []
    assert test.host.is_online(SONDE)


def test_operational_behavior_device_ddeath() -> None:
    test = HostTest()
    test.take_births()
    test.take(test.node.message("DDEATH"))
    assert (test.host.is_online(NODE), test.host.is_online(SONDE)) == (True, False)
    assert test.take(test.node.message("DDATA", data(1, 7.0))).rebirths == [NODE]


# -- sequence ----------------------------------------------------------------------------------


def test_payloads_sequence_num_incrementing_wraps_after_255() -> None:
    test = HostTest()
    test.take(test.node.nbirth(metric(0.0, FLOAT64, "v", 1), seq=250))
    for number in range(300):
        outcome = test.take(test.node.message("NDATA", data(1, float(number))))
        assert [one.value for one in outcome.values] == [float(number)]
    assert test.after(10.0).rebirths == []


def test_operational_behavior_host_reordering_success() -> None:
    test = HostTest()
    test.take_births()
    first, second, third = [test.node.message("DDATA", data(1, value)) for value in (1.0, 2.0, 3.0)]
    assert found(test.take(second)) == found(test.take(third)) == []
    test.now_s += 1.9
    assert [one.value for one in test.take(first).values] == [1.0, 2.0, 3.0]
    assert test.after(10.0).rebirths == [], "the timer was ended"


def test_operational_behavior_host_reordering_rebirth() -> None:
    test = HostTest()
    test.take_births()
    test.node.message("DDATA", data(1, 1.0))  # is lost
    test.take(test.node.message("DDATA", data(1, 2.0), metric(3.0, FLOAT64, "level")))
    assert test.after(1.9).rebirths == []
    outcome = test.after(0.2)
    assert outcome.rebirths == [NODE]
    assert found(outcome) == [(SONDE, "level", 3.0)], "a lost birth may have changed the alias, not the name"
    assert test.take(test.node.message("DDATA", data(1, 4.0))).rebirths == [], "requested a moment ago"
    births = [
        test.node.nbirth(),
        test.node.message("DBIRTH", PH, LEVEL),
        test.node.message("DDATA", data(1, 5.0)),
    ]
    assert [one.value for message in births for one in test.take(message).values] == [0.0, 7.1, -5.0, 5.0]


def test_operational_behavior_host_data_without_a_birth_requests_a_rebirth_once_in_a_while() -> None:
    test = HostTest()
    rebirths = []
    for _ in range(100):
        rebirths += test.take(test.node.message("NDATA", data(1, 1.0))).rebirths
        rebirths += test.after(1.0).rebirths
    assert 3 <= len(rebirths) <= 4


def test_a_node_that_is_silent_after_the_host_has_connected_is_requested_to_be_born() -> None:
    """Values come by exception: the next one may be hours away."""
    test = HostTest()
    test.host.connection_opened([NODE, "plant/other"], test.now_s)
    test.take_births()
    assert test.after(2.1).rebirths == ["plant/other"]


def test_payloads_sequence_num_always_included_of_a_node_that_violates_it() -> None:
    test = HostTest()
    test.take_births()
    outcome = test.take((test.node.topic("DDATA"), payload(metric(7.7, FLOAT64, "pH"))))
    assert [one.value for one in outcome.values] == [7.7]
    assert outcome.rebirths == [NODE]


@given(st.permutations(range(8)), st.integers(0, 255))
def test_any_order_of_arrival_gives_the_order_of_the_sequence(order: list[int], seq: int) -> None:
    test = HostTest()
    test.take(test.node.nbirth(metric(0.0, FLOAT64, "v", 1), seq=seq))
    messages = [test.node.message("NDATA", data(1, float(number))) for number in range(8)]
    values = [one.value for at in order for one in test.take(messages[at]).values]
    assert values == [float(number) for number in range(8)]


# -- payloads: the reader against Google's library ---------------------------------------------

numbers = (
    st.tuples(st.sampled_from([1, 2, 3]), st.integers(-128, 127))
    | st.tuples(st.just(4), st.integers(-(2**63), 2**63 - 1))
    | st.tuples(st.sampled_from([5, 6]), st.integers(0, 255))
    | st.tuples(st.just(7), st.integers(0, 2**32 - 1))
    | st.tuples(st.just(8), st.integers(0, 2**64 - 1))
    | st.tuples(st.just(FLOAT32), st.floats(width=32, allow_nan=False, allow_infinity=False))
    | st.tuples(st.just(FLOAT64), st.floats(allow_nan=False, allow_infinity=False))
    | st.tuples(st.just(sparkplug_node.BOOLEAN), st.booleans())
)


@given(
    st.lists(st.tuples(numbers, st.text(max_size=8), st.none() | st.integers(0, 2**64 - 1)), max_size=5),
    st.integers(0, 255),
    st.integers(0, 2**53),
)
def test_what_another_library_writes_is_read(
    metrics: list[tuple[tuple[int, Any], str, int | None]], seq: int, time_ms: int
) -> None:
    written = payload(
        *[metric(value, datatype, name, alias) for (datatype, value), name, alias in metrics],
        seq=seq,
        time_ms=time_ms,
    )
    read = decode_payload(written)
    assert (read.seq, read.time_s) == (seq, time_ms / 1000)
    assert [(one.name, one.alias, metric_value(one, one.datatype)) for one in read.metrics] == [
        (name, alias, shortest_float32(value) if datatype == FLOAT32 else float(value))
        for (datatype, value), name, alias in metrics
    ]


def test_operational_behavior_data_commands_ncmd_rebirth_name_and_value() -> None:
    request = sparkplug_node.Payload.FromString(encode_rebirth_request(1_790_000_000_000))
    (one,) = request.metrics
    assert (one.name, one.boolean_value, one.datatype) == ("Node Control/Rebirth", True, 11)
    assert (request.timestamp, request.HasField("seq")) == (1_790_000_000_000, False)


kinds = st.sampled_from(["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"])


@given(st.lists(st.tuples(kinds, st.binary(max_size=60)), max_size=6))
def test_any_bytes_are_an_outcome_or_a_payload_error(messages: list[tuple[str, bytes]]) -> None:
    test = HostTest()
    test.take_births()
    for kind, content in messages:
        try:
            test.take((test.node.topic(kind), content))
        except PayloadError:
            continue
    test.after(100.0)


@given(
    st.binary(max_size=400).map(lambda noise: payload(PH, LEVEL, seq=1) + noise)
    | st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=3)).map(
        lambda cut: payload(PH, LEVEL, seq=1)[: cut[0]] + cut[1] + payload(PH, LEVEL, seq=1)[cut[0] + 1 :]
    )
)
def test_a_damaged_payload_is_a_payload_or_a_payload_error(content: bytes) -> None:
    try:
        decode_payload(content)
    except PayloadError:
        return


# -- against a real broker ---------------------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "host_id": "town",
    "reorder_s": 0.5,
    "metrics": [
        {"source": SONDE, "metric": "pH", "channel": "ph", "unit": "pH"},
        {"source": SONDE, "metric": "level", "channel": "water_level", "unit": "cm"},
    ],
}


def sparkplug_driver(broker: MosquittoServer) -> Any:
    return DRIVERS["sparkplug"]({"broker": broker.url, **OPTIONS})


def test_message_flow_phid_sparkplug_state_publish_and_connect_will(mosquitto: MosquittoServer) -> None:
    """The will has the timestamp of the birth; a late or foreign death is answered with a birth."""
    with MqttPublisher(mosquitto, STATE_TOPIC) as watcher:
        with Reading(sparkplug_driver(mosquitto)) as reading:
            wait_until(lambda: len(watcher.received) == 1, within_s=20, what="a STATE birth")
            watcher.publish(STATE_TOPIC, b'{"online":false,"timestamp":1}', retain=True)
            wait_until(lambda: len(watcher.received) == 3, within_s=20, what="it is published again")
            reading.driver._subscription._client.socket().shutdown(2)
            wait_until(lambda: len(watcher.received) == 5, within_s=20, what="a will, and a new birth")
        wait_until(lambda: len(watcher.received) >= 6, within_s=20, what="a death at the end")
    states = [sparkplug_node.state(content) for _, content, _ in watcher.received]
    assert [one["online"] for one in states] == [True, False, True, False, True, False], states
    assert states[0]["timestamp"] == states[2]["timestamp"] == states[3]["timestamp"]
    assert states[3]["timestamp"] < states[4]["timestamp"] < states[5]["timestamp"]
    with MqttPublisher(mosquitto, STATE_TOPIC) as late:
        wait_until(lambda: len(late.received) == 1, within_s=20, what="a retained STATE")
    assert late.received[0][2], "host-topic-phid-death-retain"


def test_operational_behavior_host_reordering_rebirth_of_a_real_session(mosquitto: MosquittoServer) -> None:
    node = EdgeNode()
    with (
        MqttPublisher(mosquitto, node.topic("NCMD")) as edge,
        Reading(sparkplug_driver(mosquitto)) as reading,
    ):

        def send(message: tuple[str, bytes]) -> None:
            edge.publish(*message, qos=0)

        send(node.nbirth())
        send(node.message("DBIRTH", PH, LEVEL))
        send(node.message("DDATA", data(1, 7.5, quality=0), data(2, -7, INT32)))
        wait_until(lambda: len(reading.records) == 4, within_s=20, what="births and data")
        assert not edge.received
        node.message("DDATA", data(1, 7.6))  # is lost
        send(node.message("DDATA", data(1, 7.7)))
        wait_until(lambda: len(edge.received) == 1, within_s=20, what="a rebirth request")
        send(node.nbirth())
        send(node.message("DBIRTH", metric(7.8, FLOAT64, "pH", 11)))
        send(node.message("DDATA", data(11, 7.9)))
        wait_until(lambda: len(reading.records) == 6, within_s=20, what="the new session")
    assert [(one.name, one.value) for one in reading.records] == [
        ("ph", 7.1), ("water_level", pytest.approx(-0.05)),
        ("ph", 7.5), ("water_level", pytest.approx(-0.07)),
        ("ph", 7.8), ("ph", 7.9),
    ]  # fmt: skip
    flagged = [pack.properties for pack in reading.packs if pack.records[0].value == 7.5]
    assert flagged == [(("quality", "4"),)], "bad is QARTOD 4"
    assert reading.records[0].time_s == 1_790_000_000.001
    assert any("message 3 is missing: a rebirth is requested" in one for one in reading.faults)


def test_a_silent_edge_node_is_requested_to_be_born_again(
    mosquitto: MosquittoServer,
) -> None:
    node = EdgeNode()
    with (
        MqttPublisher(mosquitto, node.topic("NCMD")) as edge,
        Reading(sparkplug_driver(mosquitto)) as reading,
    ):
        wait_until(lambda: len(edge.received) == 1, within_s=20, what="a request: nothing was received")
        edge.publish(*node.nbirth(), qos=0)
        edge.publish(*node.message("DBIRTH", PH), qos=0)
        wait_until(lambda: len(reading.records) == 1, within_s=20, what="the birth")
        reading.driver._subscription._client.socket().shutdown(2)
        wait_until(lambda: len(edge.received) == 2, within_s=20, what="another request")
        time.sleep(0.1)
    assert len(edge.received) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": []},
        {"host_id": "a/b"},
        {"host_id": ""},
        {"reorder_s": -1},
        {"metrics": [{"source": "plant", "metric": "x", "channel": "ph"}]},
        {"metrics": [{"source": "plant/+", "metric": "x", "channel": "ph"}]},
        {"metrics": [{"source": "a/b", "metric": "x", "channel": "ph", "unit": "m"}]},
        {"metrics": [{"source": "a/b", "metric": "x", "channel": "p h"}]},
    ],
)
def test_wrong_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["sparkplug"]({"broker": "mqtt://127.0.0.1", **OPTIONS, **change})


@pytest.mark.parametrize("content", [b"OFFLINE", b"[]", b"\xff", b"[" * 10_000])
def test_a_state_that_is_no_object_is_a_payload_error(content: bytes) -> None:
    with pytest.raises(PayloadError):
        is_offline_state(content)
