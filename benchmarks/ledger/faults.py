"""Defines the kinds of faults of the kill ledger and the seeded schedule in which they are caused."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks._mqtt_load import persistent_session
from benchmarks.ledger.chain import AREA, DEVICES, Chain
from benchmarks.ledger.counting_agent import INTERVAL_S, PACK_READINGS, records, spool_settings
from benchmarks.ledger.fault_kind import FaultContext, LedgerFault, NoEffectError
from benchmarks.ledger.platform import INGEST_NAMES, STATION_SPOOL
from benchmarks.ledger.town_faults import OTHER_TOWN_FAULTS
from edge.agent.spool import Spool
from tests.support import faulty_libc, small_disk
from tests.support.database_power import lose_power
from tests.support.packet_line import LineConditions
from tests.support.throwaway_servers import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.tcp_proxy import Proxy

MALFORMED = "malformed payloads"
ZOMBIE_TIMEOUT_S = 20.0
DEAD_LETTER_TIMEOUT_S = 60.0
REPUBLISH_S = 5.0
DUPLICATES = 3
POISON_PAYLOADS = 3
CLOCK_JUMP_S = 3600.0
DISK_LEFT_BYTES = 200 << 20  # less than the default reserve of ingest


def _kill_ingest(context: FaultContext) -> None:
    owner = context.platform.shard_owner()
    name = owner[0] if owner else context.random_source.choice(list(context.platform.ingest))
    context.platform.ingest[name].kill()


def _kill_standby(context: FaultContext) -> None:
    owner = context.platform.shard_owner()
    names = [one for one in context.platform.ingest if owner is None or one != owner[0]]
    context.platform.ingest[names[0]].kill()


def _freeze_ingest(context: FaultContext) -> None:
    name = context.random_source.choice(list(context.platform.ingest))
    with frozen(context.platform.ingest[name].process.pid):
        time.sleep(context.seconds())


def _wake_zombie(context: FaultContext) -> None:
    """Freeze the owner until its standby owns the shard, then let it continue."""
    platform = context.platform
    owner = platform.shard_owner()
    if owner is None:
        raise NoEffectError("no process owns the shard")
    with frozen(platform.ingest[owner[0]].process.pid):
        with suppress(psycopg.OperationalError), platform.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [owner[1]])
        until_s = time.monotonic() + ZOMBIE_TIMEOUT_S
        while time.monotonic() < until_s:
            new_owner = platform.shard_owner()
            if new_owner is not None and new_owner[0] != owner[0]:
                return
            time.sleep(0.2)
    raise NoEffectError("the standby did not take over")


def _kill_agent(context: FaultContext) -> None:
    context.random_source.choice(context.chain.agents).kill()


def _freeze_agent(context: FaultContext) -> None:
    agent = context.random_source.choice(context.chain.agents)
    if agent.process is None or agent.process.poll() is not None:
        raise NoEffectError("the agent has ended")
    with frozen(agent.process.pid):
        time.sleep(context.seconds())


def _kill_other(name: str) -> Callable[[FaultContext], None]:
    return lambda context: context.platform.others[name].kill()


def _freeze_service(context: FaultContext) -> None:
    with frozen(context.platform.others["service"].process.pid):
        time.sleep(context.seconds())


def _kill_broker(context: FaultContext) -> None:
    context.chain.broker.kill()
    time.sleep(context.seconds(0.0))
    context.chain.broker.start()


def _kill_broker_without_memory(context: FaultContext) -> None:
    broker = context.chain.broker
    broker.kill()
    (broker.folder / "mosquitto.db").unlink(missing_ok=True)
    broker.start()


def _restart_broker(context: FaultContext) -> None:
    context.chain.broker.stop()
    context.chain.broker.start()


def _freeze_broker(context: FaultContext) -> None:
    with frozen(context.chain.broker.pid):
        time.sleep(context.seconds())


def _kill_database(context: FaultContext) -> None:
    context.chain.database.kill()
    time.sleep(context.seconds(0.0))
    context.chain.database.start()


def _restart_database(context: FaultContext) -> None:
    context.chain.database.stop()
    context.chain.database.start()


def _freeze_database(context: FaultContext) -> None:
    with frozen(context.chain.database.pid):
        time.sleep(context.seconds())


def _terminate_sessions(context: FaultContext) -> None:
    with context.chain.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )


def _lock_readings(context: FaultContext) -> None:
    with context.chain.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE reading IN EXCLUSIVE MODE")
        time.sleep(context.seconds())


def _make_read_only(context: FaultContext) -> None:
    _set_read_only(context.chain, "on")
    time.sleep(context.seconds())
    _set_read_only(context.chain, "off")


def _set_read_only(chain: Chain, value: str) -> None:
    with chain.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {value}"
        )
    chain.database_network.cut()


def _network(act: Callable[[Proxy, FaultContext], None], which: str) -> Callable[[FaultContext], None]:
    def cause(context: FaultContext) -> None:
        proxy: Proxy = getattr(context.chain, which)
        try:
            act(proxy, context)
        finally:
            proxy.restore()

    return cause


def _cut(proxy: Proxy, _: FaultContext) -> None:
    proxy.cut()


def _refuse(proxy: Proxy, context: FaultContext) -> None:
    proxy.refuse()
    time.sleep(context.seconds())


def _stall(proxy: Proxy, context: FaultContext) -> None:
    proxy.stall()
    time.sleep(context.seconds())


def _delay(proxy: Proxy, context: FaultContext) -> None:
    proxy.delay_s = context.random_source.uniform(0.02, 0.2)
    time.sleep(context.seconds())


def _lose_commit_answer(proxy: Proxy, context: FaultContext) -> None:
    trigger = proxy.cut_after(b"PGCOPY\n", b"COMMIT", answer_lost=True)
    if not trigger.sprung.wait(context.longest_s):
        raise NoEffectError("nothing was committed meanwhile")


def _take_session_over(context: FaultContext) -> None:
    """Connect with the client id of ingest, so that the broker ends ingest's connection."""
    with connected(context.chain, "towntwin-ingest-main"):
        time.sleep(0.2)


@contextmanager
def connected(chain: Chain, client_id: str) -> Iterator[Client]:
    """Connect to the broker with a client id and its session."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
        reconnect_on_failure=False,
    )
    client.connect(chain.broker.host, chain.broker.port, clean_start=False, properties=persistent_session())
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(context: FaultContext, topic: str, payloads: list[bytes]) -> None:
    """Publish payloads at QoS 1 until the broker has acknowledged them."""
    with connected(context.chain, f"ledger-fault-{context.number}") as client:
        for payload in payloads:
            client.publish(topic, payload, qos=1).wait_for_publish(10)


def data_topic(device_id: str) -> str:
    """Return the topic of a device's data."""
    return f"towntwin/v1/{AREA}/{device_id}/data"


def poison_payloads(number: int) -> list[bytes]:
    """Return payloads that no decoder can read; each differs from those of other faults."""
    return [f'[{{"n":"ph","v":{number}.{one}'.encode() for one in range(POISON_PAYLOADS)]


def _poison(context: FaultContext) -> None:
    """Publish malformed payloads until each is a dead letter, as no spool sends them again."""
    missing = poison_payloads(context.number)
    until_s = time.monotonic() + DEAD_LETTER_TIMEOUT_S
    while missing and time.monotonic() < until_s:
        with suppress(OSError, RuntimeError, ValueError):
            publish(context, data_topic(DEVICES[0]), missing)
        again_s = time.monotonic() + REPUBLISH_S
        while missing and time.monotonic() < again_s:
            time.sleep(0.3)
            with suppress(psycopg.OperationalError), context.platform.connect() as connection:
                rows = connection.execute(
                    "SELECT payload FROM dead_letter WHERE payload = ANY (%s)", [missing]
                ).fetchall()
                missing = [one for one in missing if one not in {bytes(row[0]) for row in rows}]


def _duplicate(context: FaultContext) -> None:
    """Publish packs again that an agent has published before, as a broker with a copied memory would."""
    agent = context.random_source.choice(context.chain.agents)
    packs = max(agent.progress // PACK_READINGS, 1)
    payloads = [
        context.chain.encode(records(context.random_source.randrange(packs) * PACK_READINGS, agent.start_s))
        for _ in range(DUPLICATES)
    ]
    with suppress(OSError, RuntimeError, ValueError):
        publish(context, data_topic(agent.device_id), payloads * 2)


def _kill_agent_with_backlog(context: FaultContext) -> None:
    """Cut the devices from the broker, then kill an agent that has a backlog."""
    context.chain.device_network.refuse()
    time.sleep(context.seconds())
    context.random_source.choice(context.chain.agents).kill()
    context.chain.device_network.restore()


def _lose_power(context: FaultContext) -> None:
    """Kill an agent and drop what it had written and not synced; every stored message was in the spool."""
    chain = context.chain
    agent = context.random_source.choice(chain.agents)
    with chain.supervision:
        if agent.has_finished:
            raise NoEffectError("the agent has ended")
        agent.kill()
        faulty_libc.drop_unsynced(agent.folder, context.random_source)
        spool = Spool.open(agent.folder / "spool", spool_settings())
        try:
            newest = spool.newest()
        finally:
            spool.close()
        stored_s = chain.newest_stored_s(agent.device_id)
        stored = 0 if stored_s is None else (stored_s - agent.start_s) // INTERVAL_S + 1
        assert newest * PACK_READINGS >= stored, f"{agent.device_id}: published before it was durable"


def _shift_clock(*names: str) -> Callable[[FaultContext], None]:
    def cause(context: FaultContext) -> None:
        clock = context.chain.clocks[context.random_source.choice(names)]
        faulty_libc.set_clock(clock, context.random_source.uniform(-CLOCK_JUMP_S, CLOCK_JUMP_S))
        try:
            time.sleep(context.seconds())
        finally:
            faulty_libc.set_clock(clock, 0)

    return cause


def _fill_disk(leave_bytes: int) -> Callable[[FaultContext], None]:
    def cause(context: FaultContext) -> None:
        filler = context.chain.filler
        if filler is None:
            raise NoEffectError("the database has no disk of its own")
        try:
            small_disk.fill(filler, leave_bytes=leave_bytes)
            time.sleep(context.seconds(1.5))
        finally:
            filler.unlink(missing_ok=True)

    return cause


def _disconnect_station(context: FaultContext) -> None:
    context.platform.station.disconnect()


def _lose_power_of_station_server(context: FaultContext) -> None:
    platform = context.platform
    with platform.supervision:
        platform.others["hj212"].kill()
        faulty_libc.drop_unsynced((platform.folder / STATION_SPOOL).parent, context.random_source)


def _lose_power_of_database(context: FaultContext) -> None:
    database = context.chain.database
    lose_power(database, context.random_source)
    time.sleep(context.seconds(0.0))
    database.start()


def _kill_county_broker(context: FaultContext) -> None:
    context.platform.county_broker.kill()
    time.sleep(context.seconds(0.0))
    context.platform.county_broker.start()


def _impair_packets(**most: float) -> Callable[[FaultContext], None]:
    """Return a fault that impairs one line by up to these conditions, and a base delay of 10 ms."""

    def cause(context: FaultContext) -> None:
        lines, source = context.chain.lines, context.random_source
        assert lines is not None
        line = source.choice(lines.lines)
        chosen = {name: source.uniform(value / 3, value) for name, value in most.items()}
        line.conditions = LineConditions(**{"delay_s": 0.01, **chosen})
        before = line.counts.sent
        try:
            time.sleep(context.seconds(1.0))
        finally:
            line.conditions = LineConditions()
        if line.counts.sent == before:
            raise NoEffectError("no packet was sent meanwhile")

    return cause


def _cut_line(context: FaultContext) -> None:
    assert context.chain.lines is not None
    line = context.random_source.choice(context.chain.lines.lines)
    line.cut()
    try:
        time.sleep(context.seconds(1.0))
    finally:
        line.restore()


FAULT_KINDS = (
    LedgerFault(
        "ingest killed", "SIGKILL of the process that owns the shard; its standby takes over", _kill_ingest
    ),
    LedgerFault("standby killed", "SIGKILL of the ingest process that stands by", _kill_standby),
    LedgerFault("ingest frozen", "SIGSTOP of an ingest process", _freeze_ingest),
    LedgerFault(
        "zombie",
        "the owner is frozen and its lock ended; it continues when its standby owns the shard",
        _wake_zombie,
    ),
    LedgerFault("agent killed", "SIGKILL of an edge agent", _kill_agent),
    LedgerFault("agent frozen", "SIGSTOP of an edge agent", _freeze_agent),
    LedgerFault(
        "devices cut off, agent killed",
        "no connection to the broker; an agent is killed",
        _kill_agent_with_backlog,
    ),
    LedgerFault("service killed", "SIGKILL of the service", _kill_other("service")),
    LedgerFault("service frozen", "SIGSTOP of the service", _freeze_service),
    LedgerFault("gateway killed", "SIGKILL of the gateway", _kill_other("gateway")),
    LedgerFault("broker killed", "SIGKILL of Mosquitto, which saves its memory once a second", _kill_broker),
    LedgerFault(
        "broker killed, memory lost",
        "SIGKILL of Mosquitto, and its file is deleted",
        _kill_broker_without_memory,
    ),
    LedgerFault("broker restarted", "SIGTERM of Mosquitto", _restart_broker),
    LedgerFault("broker frozen", "SIGSTOP of Mosquitto", _freeze_broker),
    LedgerFault("database killed", "SIGKILL of PostgreSQL and all its backends", _kill_database),
    LedgerFault("database restarted", "fast shutdown of PostgreSQL", _restart_database),
    LedgerFault("database frozen", "SIGSTOP of PostgreSQL and all its backends", _freeze_database),
    LedgerFault("sessions terminated", "pg_terminate_backend of every session", _terminate_sessions),
    LedgerFault("readings locked", "another transaction locks the table of readings", _lock_readings),
    LedgerFault("database read-only", "new transactions are read-only", _make_read_only),
    LedgerFault(
        "database network cut", "connections of ingest are closed", _network(_cut, "database_network")
    ),
    LedgerFault(
        "database network refuses", "and new ones are refused", _network(_refuse, "database_network")
    ),
    LedgerFault("database network stalls", "nothing is forwarded", _network(_stall, "database_network")),
    LedgerFault("database network slow", "every piece is delayed", _network(_delay, "database_network")),
    LedgerFault(
        "answer to COMMIT lost",
        "the transaction is committed, the connection ends before the answer",
        _network(_lose_commit_answer, "database_network"),
    ),
    LedgerFault("broker network cut", "the connection of ingest is closed", _network(_cut, "broker_network")),
    LedgerFault("broker network refuses", "and new ones are refused", _network(_refuse, "broker_network")),
    LedgerFault("broker network stalls", "nothing is forwarded", _network(_stall, "broker_network")),
    LedgerFault("broker network slow", "every piece is delayed", _network(_delay, "broker_network")),
    LedgerFault(
        "device network cut", "connections of all agents are closed", _network(_cut, "device_network")
    ),
    LedgerFault("device network refuses", "and new ones are refused", _network(_refuse, "device_network")),
    LedgerFault("device network stalls", "nothing is forwarded", _network(_stall, "device_network")),
    LedgerFault("session taken over", "another client connects with the id of ingest", _take_session_over),
    LedgerFault(MALFORMED, "payloads that cannot be decoded, on a device's topic", _poison),
    LedgerFault("messages doubled", "packs of an agent are published again by another client", _duplicate),
    LedgerFault(
        "agent loses power",
        "SIGKILL of an edge agent; sectors that it had written and not synced are dropped at random",
        _lose_power,
        needs="library",
    ),
    LedgerFault(
        "clock of an agent jumps",
        "by up to an hour, there and back",
        _shift_clock(*DEVICES),
        needs="library",
    ),
    LedgerFault(
        "clock of ingest jumps",
        "by up to an hour, there and back",
        _shift_clock(*INGEST_NAMES),
        needs="library",
    ),
    LedgerFault(
        "clock of the service jumps",
        "by up to an hour, there and back",
        _shift_clock("service"),
        needs="library",
    ),
    LedgerFault("disk full", "no byte is free on the database's disk", _fill_disk(0), needs="filler"),
    LedgerFault(
        "disk almost full",
        "less is free on the database's disk than the reserve of ingest",
        _fill_disk(DISK_LEFT_BYTES),
        needs="filler",
    ),
    LedgerFault("HJ 212 server killed", "SIGKILL of the server of stations", _kill_other("hj212")),
    LedgerFault("station cut off", "the connection of the HJ 212 station is closed", _disconnect_station),
    LedgerFault(
        "HJ 212 server loses power",
        "SIGKILL of the server; sectors that its spool had written and not synced are dropped at random",
        _lose_power_of_station_server,
        needs="library",
    ),
    LedgerFault(
        "database loses power",
        "SIGKILL of PostgreSQL; sectors that it had written and not synced are dropped at random",
        _lose_power_of_database,
        needs="powered",
    ),
    LedgerFault("forwarder killed", "SIGKILL of the town's forwarder", _kill_other("forwarder")),
    LedgerFault("receiver killed", "SIGKILL of the county's receiver", _kill_other("receiver")),
    LedgerFault(
        "county's broker killed",
        "SIGKILL of the county's Mosquitto, which keeps nothing",
        _kill_county_broker,
    ),
    LedgerFault(
        "county network refuses",
        "connections of the forwarder are closed, and new ones refused",
        _network(_refuse, "county_network"),
    ),
    *OTHER_TOWN_FAULTS,
    LedgerFault("packets delayed", "by up to 0.3 s, below TCP", _impair_packets(delay_s=0.3), needs="lines"),
    LedgerFault("packets lost", "up to a fifth of them, below TCP", _impair_packets(loss=0.2), needs="lines"),
    LedgerFault(
        "packets reordered",
        "each is delayed by up to 0.1 s at random, below TCP",
        _impair_packets(jitter_s=0.1),
        needs="lines",
    ),
    LedgerFault(
        "packets doubled", "up to half of them, below TCP", _impair_packets(doubling=0.5), needs="lines"
    ),
    LedgerFault(
        "line cut without notice",
        "every packet is lost, and connections stay open",
        _cut_line,
        needs="lines",
    ),
)


def schedule(seed: int, faults: int, kinds: Sequence[LedgerFault] = FAULT_KINDS) -> list[LedgerFault]:
    """Return a sequence of faults: every kind equally often, in random order.

    >>> len({one.name for one in schedule(1, len(FAULT_KINDS))}) == len(FAULT_KINDS)
    True
    """
    random_source = random.Random(seed)
    found: list[LedgerFault] = []
    while len(found) < faults:
        found += random_source.sample(kinds, len(kinds))
    return found[:faults]


def possible_kinds(chain: Chain) -> list[LedgerFault]:
    """Return the kinds of faults that can be caused on a chain."""
    return [one for one in FAULT_KINDS if getattr(chain, one.needs) is not None]
