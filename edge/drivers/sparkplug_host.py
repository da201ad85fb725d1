"""State of a Sparkplug B 3.0 host application: births, deaths, aliases and sequence numbers; performs no I/O.

Chapters and ``tck-id`` names are those of the Eclipse Sparkplug Specification 3.0. Where it leaves a choice:
messages that follow a gap are held until the reorder time-out; after it, their metrics with names are taken,
and those with aliases are not, because a lost birth may have given the aliases to other metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.drivers.sparkplug_payload import SparkplugPayload, decode_payload, metric_value
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.drivers.sparkplug_payload import SparkplugMetric

NAMESPACE = "spBv1.0"
BD_SEQ = "bdSeq"
SEQUENCE = 256
NODE_KINDS = frozenset({"NBIRTH", "NDATA", "NDEATH"})
DEVICE_KINDS = frozenset({"DBIRTH", "DDATA", "DDEATH"})
REBIRTH_INTERVAL_S = 30.0  # between two requests to one edge node, which may take a while to answer
MAX_HELD = 64  # messages behind a gap; so many arrive in the reorder time-out of no usual node


class SparkplugValue(NamedTuple):
    """A value of a metric.

    Attributes
    ----------
    source : ``group/node``, or ``group/node/device``
    time_s : Unix time [s]; that of the payload where the metric has none, None without either
    is_historical : whether it was sent for the past, after an outage
    quality : code of the metric's quality property; None without one

    """

    source: str
    metric: str
    value: float
    time_s: float | None
    is_historical: bool
    quality: int | None


class HostOutcome(msgspec.Struct):
    """What follows from a message, or from the time: values, reports, and nodes to request a rebirth from."""

    values: list[SparkplugValue] = []
    faults: list[str] = []
    rebirths: list[str] = []


class _Definition(NamedTuple):
    """Metric as defined by a birth."""

    source: str
    name: str
    datatype: int | None


class _Held(NamedTuple):
    kind: str
    source: str
    payload: SparkplugPayload


class _EdgeNode:
    """Session of one edge node."""

    def __init__(self) -> None:
        self.is_online = False
        self.in_sequence = False  # whether every message since the birth was received
        self.bd_seq: float | None = None
        self.next_seq = 0
        self.by_alias: dict[int, _Definition] = {}
        self.by_name: dict[tuple[str, str], _Definition] = {}
        self.devices: set[str] = set()
        self.held: dict[int, _Held] = {}
        self.gap_at_s: float | None = None  # when the oldest gap was found
        self.rebirth_requested_s = float("-inf")

    def define(self, source: str, metrics: tuple[SparkplugMetric, ...]) -> str | None:
        """Take the metrics of a birth; returns the name of one with an alias that another has."""
        clash = None
        self.by_name = {key: one for key, one in self.by_name.items() if key[0] != source}
        self.by_alias = {alias: one for alias, one in self.by_alias.items() if one.source != source}
        for metric in metrics:
            if metric.name is None:
                continue
            definition = _Definition(source, metric.name, metric.datatype)
            self.by_name[source, metric.name] = definition
            if metric.alias is not None and metric.alias in self.by_alias:
                clash = metric.name
                del self.by_alias[metric.alias]  # of which of the two a value would be is not known
            elif metric.alias is not None:
                self.by_alias[metric.alias] = definition
        return clash


class SparkplugHost:
    """Follows the sessions of edge nodes.

    Parameters
    ----------
    reorder_s : reorder time-out: time for which messages behind a gap are held [s]

    """

    def __init__(self, *, reorder_s: float = 5.0) -> None:
        self._reorder_s = reorder_s
        self._nodes: dict[str, _EdgeNode] = {}

    def connection_opened(self, nodes: list[str], now_s: float) -> None:
        """Forget all sessions, and expect births of some nodes: what was sent meanwhile is not known.

        Nodes that publish no birth within the reorder time-out are requested to, since they publish values by
        exception only, perhaps hours later.

        Parameters
        ----------
        nodes : ``group/node`` of each
        now_s : monotonic time [s]

        """
        self._nodes = {name: _EdgeNode() for name in nodes}
        for one in self._nodes.values():
            one.gap_at_s = now_s

    def is_online(self, source: str) -> bool:
        """Whether an edge node, or a device of one, has published a birth and no death."""
        name = "/".join(source.split("/")[:2])
        node = self._nodes.get(name)
        return node is not None and node.is_online and (source == name or source in node.devices)

    def take(self, topic: str, content: bytes, now_s: float) -> HostOutcome:
        """Process a message.

        Parameters
        ----------
        topic, content : as received; messages of other kinds (commands, STATE) have no effect
        now_s : monotonic time [s]

        Raises
        ------
        PayloadError
            If the payload of a birth, death or data message can't be read.

        """
        outcome = HostOutcome()
        namespace, group, kind, name, *device = [*topic.split("/"), "", "", ""][:5]
        device = [one for one in device if one]
        is_node_kind, is_device_kind = (
            kind in NODE_KINDS and not device,
            kind in DEVICE_KINDS and bool(device),
        )
        if namespace != NAMESPACE or not name or topic.count("/") > 4 or not (is_node_kind or is_device_kind):
            return outcome
        payload = decode_payload(content)
        node_name = f"{group}/{name}"
        source = "/".join([node_name, *device])
        node = self._nodes.setdefault(node_name, _EdgeNode())
        if kind == "NDEATH":
            self._end_session(node, node_name, payload, outcome)
        elif kind == "NBIRTH":
            self._begin_session(node, node_name, payload, outcome)
        elif not node.is_online:
            self._take_without_session(node, node_name, _Held(kind, source, payload), now_s, outcome)
        else:
            self._take_in_session(node, node_name, _Held(kind, source, payload), now_s, outcome)
        return outcome

    def due(self, now_s: float) -> HostOutcome:
        """Process what waited for the reorder time-out; to be called about each 0.1 s."""
        outcome = HostOutcome()
        for name, node in self._nodes.items():
            if node.gap_at_s is not None and now_s - node.gap_at_s >= self._reorder_s:
                self._give_up_gap(node, name, now_s, outcome)
        return outcome

    # -- sessions ------------------------------------------------------------------------------

    def _begin_session(
        self, node: _EdgeNode, name: str, payload: SparkplugPayload, outcome: HostOutcome
    ) -> None:
        """Take an NBIRTH; its seq should be 0, but any is where the sequence begins (6.4.5, 4.3.1)."""
        if node.held:
            outcome.faults.append(
                f"edge node {name}: {len(node.held)} messages before its birth are left out"
            )
        bd_seq = payload.metric(BD_SEQ)
        fresh = _EdgeNode()
        fresh.rebirth_requested_s = node.rebirth_requested_s
        fresh.is_online, fresh.in_sequence = True, payload.seq is not None
        fresh.bd_seq = None if bd_seq is None else metric_value(bd_seq, bd_seq.datatype)
        fresh.next_seq = ((payload.seq or 0) + 1) % SEQUENCE
        self._nodes[name] = fresh
        if bd_seq is None or payload.seq is None:
            outcome.faults.append(f"edge node {name}: its birth has no {BD_SEQ if bd_seq is None else 'seq'}")
        self._define(fresh, name, payload, outcome)

    def _end_session(
        self, node: _EdgeNode, name: str, payload: SparkplugPayload, outcome: HostOutcome
    ) -> None:
        """Take an NDEATH, unless it is of an earlier session: wills may be late."""
        bd_seq = payload.metric(BD_SEQ)
        ended = None if bd_seq is None else metric_value(bd_seq, bd_seq.datatype)
        if not node.is_online or ended != node.bd_seq:
            return
        outcome.faults.append(f"edge node {name} is offline")
        self._nodes[name] = _EdgeNode()

    def _take_without_session(
        self, node: _EdgeNode, name: str, held: _Held, now_s: float, outcome: HostOutcome
    ) -> None:
        """Take a message of a node whose birth was not received: only metrics with names are known."""
        self._take_values(node, held, outcome, aliases=False)
        self._request_rebirth(node, name, "no birth of it was received", now_s, outcome)

    def _take_in_session(
        self, node: _EdgeNode, name: str, held: _Held, now_s: float, outcome: HostOutcome
    ) -> None:
        seq = held.payload.seq
        if seq is None or not node.in_sequence:
            self._take_without_session(node, name, held, now_s, outcome)
        elif seq != node.next_seq:
            node.held[seq] = held
            if node.gap_at_s is None:
                node.gap_at_s = now_s
            if len(node.held) > MAX_HELD:
                self._give_up_gap(node, name, now_s, outcome)
        else:
            self._take_next(node, name, held, now_s, outcome)
            while node.in_sequence and node.next_seq in node.held:
                self._take_next(node, name, node.held.pop(node.next_seq), now_s, outcome)
            if not node.held:
                node.gap_at_s = None

    def _take_next(self, node: _EdgeNode, name: str, held: _Held, now_s: float, outcome: HostOutcome) -> None:
        """Take the message that is next in sequence."""
        node.next_seq = (node.next_seq + 1) % SEQUENCE
        if held.kind == "DBIRTH":
            node.devices.add(held.source)
            self._define(node, held.source, held.payload, outcome)
        elif held.kind == "DDEATH":
            node.devices.discard(held.source)
            outcome.faults.append(f"device {held.source} is offline")
        elif held.kind == "DDATA" and held.source not in node.devices:
            self._take_values(node, held, outcome, aliases=False)
            self._request_rebirth(node, name, f"no birth of {held.source} was received", now_s, outcome)
        elif not self._take_values(node, held, outcome, aliases=True):
            self._request_rebirth(node, name, "it uses an alias that no birth defines", now_s, outcome)

    def _give_up_gap(self, node: _EdgeNode, name: str, now_s: float, outcome: HostOutcome) -> None:
        """End the wait for missing messages; see the module for what becomes of those behind them."""
        held = sorted(node.held.items(), key=lambda item: (item[0] - node.next_seq) % SEQUENCE)
        node.held.clear()
        node.gap_at_s, node.in_sequence = None, False
        for _, one in held:
            self._take_values(node, one, outcome, aliases=False)
        reason = f"message {node.next_seq} is missing" if node.is_online else "no birth of it was received"
        self._request_rebirth(node, name, reason, now_s, outcome)

    @staticmethod
    def _request_rebirth(node: _EdgeNode, name: str, reason: str, now_s: float, outcome: HostOutcome) -> None:
        if now_s - node.rebirth_requested_s < REBIRTH_INTERVAL_S:
            return
        node.rebirth_requested_s = now_s
        outcome.rebirths.append(name)
        outcome.faults.append(f"edge node {name}: {reason}: a rebirth is requested")

    # -- values --------------------------------------------------------------------------------

    @staticmethod
    def _define(node: _EdgeNode, source: str, payload: SparkplugPayload, outcome: HostOutcome) -> None:
        """Take the metrics of a birth with their current values."""
        clash = node.define(source, payload.metrics)
        if clash is not None:
            outcome.faults.append(f"{source}: the alias of {clash!r} is used twice, and is ignored")
        for metric in payload.metrics:
            if metric.name is not None and metric.name != BD_SEQ:
                definition = _Definition(source, metric.name, metric.datatype)
                outcome.values.extend(_values(definition, metric, payload))

    @staticmethod
    def _take_values(node: _EdgeNode, held: _Held, outcome: HostOutcome, *, aliases: bool) -> bool:
        """Take the values of a data message; returns whether all its metrics are known."""
        complete = True
        for metric in held.payload.metrics if held.kind.endswith("DATA") else ():
            if metric.name is not None:
                unknown = _Definition(held.source, metric.name, metric.datatype)
                definition = node.by_name.get((held.source, metric.name), unknown)
            else:
                found = node.by_alias.get(metric.alias) if aliases and metric.alias is not None else None
                if found is None or found.source != held.source:
                    complete = False
                    continue
                definition = found
            outcome.values.extend(_values(definition, metric, held.payload))
        return complete


def _values(
    definition: _Definition, metric: SparkplugMetric, payload: SparkplugPayload
) -> Iterator[SparkplugValue]:
    datatype = metric.datatype if metric.datatype is not None else definition.datatype
    value = metric_value(metric, datatype)
    if value is not None:
        time_s = metric.time_s if metric.time_s is not None else payload.time_s
        yield SparkplugValue(
            definition.source, definition.name, value, time_s, metric.is_historical, metric.quality
        )


def state_message(*, online: bool, time_ms: int) -> bytes:
    """Encode a STATE message of the host application (chapter 6.4.30).

    >>> state_message(online=True, time_ms=1790000000000)
    b'{"online":true,"timestamp":1790000000000}'
    """
    return msgspec.json.encode({"online": online, "timestamp": time_ms})


def is_offline_state(content: bytes) -> bool:
    """Whether a STATE message reports a host application as offline. Raises `PayloadError`."""
    try:
        state = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"STATE is no JSON object: {error}") from error
    return state.get("online") is False
