"""Defines the rival of the kill ledger: Telegraf's mqtt_consumer to PostgreSQL, with two kinds of table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, LiteralString, NamedTuple

from psycopg.conninfo import conninfo_to_dict

from benchmarks.ledger import puback_agent
from benchmarks.ledger.chain import START_TIMEOUT_S, Chain
from tests.support.processes import LoggedProcess, wait_until

if TYPE_CHECKING:
    from benchmarks.ledger.chain import ChainLoad
    from edge.wire.senml import Record
    from tests.support.network_namespaces import NetworkNamespace
    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

CONFIGURATION = Path(__file__).with_name("telegraf.conf")


class RivalTable(NamedTuple):
    """A kind of table that Telegraf writes to: its schema and what is added to its definition."""

    schema: str
    key: str

    @property
    def client_id(self) -> str:
        """MQTT client id of the Telegraf that writes to it."""
        return f"telegraf-{self.schema}"


PLAIN, KEYED = RivalTable("plain", ""), RivalTable("keyed", ', PRIMARY KEY ("time", device)')
TABLES = (PLAIN, KEYED)


class RivalChain(Chain):
    """The same devices and servers with Telegraf between them, once for each kind of table.

    Parameters
    ----------
    dsn : URL of an empty database
    program : path of Telegraf

    Attributes
    ----------
    telegrafs : the processes by the schema of their table

    """

    newest_stored: ClassVar[LiteralString] = """
    SELECT extract(epoch FROM max("time"))
    FROM (TABLE plain.reading UNION ALL TABLE keyed.reading) AS stored WHERE device = %(device)s
    """

    def __init__(
        self,
        folder: Path,
        database: PostgresServer,
        broker: MosquittoServer,
        dsn: str,
        load: ChainLoad,
        *,
        program: Path,
        filler: Path | None = None,
    ) -> None:
        super().__init__(
            folder, database, broker, dsn, load, filler=filler, agent_module=puback_agent.__name__
        )
        with self.connect() as connection:
            for one in TABLES:
                connection.execute(f"CREATE SCHEMA {one.schema}")
        self.telegrafs = {one.schema: self._telegraf(program, one) for one in TABLES}

    @property
    def processes(self) -> dict[str, LoggedProcess]:
        """The processes by the schema of their table."""
        return self.telegrafs

    def encode(self, records: list[Record]) -> bytes:
        """Return the payload of a pack."""
        return puback_agent.encode(records)

    def _telegraf(self, program: Path, table: RivalTable) -> LoggedProcess:
        network, name = self.database_network, conninfo_to_dict(self.dsn)["dbname"]
        environ = {
            "LEDGER_BROKER": f"tcp://{self.broker_network.host}:{self.broker_network.port}",
            "LEDGER_CLIENT_ID": table.client_id,
            "LEDGER_DATABASE": f"host={network.host} port={network.port} user=postgres dbname={name}"
            " sslmode=disable connect_timeout=5",
            "LEDGER_SCHEMA": table.schema,
            "LEDGER_KEY": table.key,
        }
        return LoggedProcess(
            [program, "--config", CONFIGURATION], self.folder / f"{table.client_id}.log", environ
        )

    def _namespace(self, name: str) -> NetworkNamespace | None:
        del name
        return self.lines and self.lines.ingest

    def _wait_until_subscribed(self) -> None:
        wait_until(
            lambda: all("Connected" in one.log.read_text() for one in self.telegrafs.values()),
            within_s=START_TIMEOUT_S,
            what="Telegraf is connected",
        )
