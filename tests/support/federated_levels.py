"""A city, its county and three towns, each in a network namespace of its own, joined by lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict

from edge.wire.broker_address import BrokerAddress
from ingest_service.federation.https_publisher import CountyAddress
from tests.support.federated_platforms import (
    COUNTY,
    COUNTY_BOX,
    TOWNS,
    box_of,
    city_directory,
    county_directory,
    forwarding,
    receiving,
    town_directory,
)
from tests.support.federation_rows import ANOMALIES, INCIDENTS, READINGS, WITHIN_S, opened, rows_of
from tests.support.https_gateway import HttpsGateway
from tests.support.network_namespaces import NetworkNamespace
from tests.support.packet_line import PacketLine
from tests.support.processes import running_processes, wait_until
from tests.support.throwaway_servers import MosquittoServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from deploy.debian_servers.installation import Installation

COMMANDS = ("limits", "incident")
COMPARED = (READINGS, ANOMALIES, INCIDENTS)
COUNTY_HOST, CITY_HOST = "10.88.0.1", "10.88.0.2"
N_DATABASES = 2 + len(TOWNS)
HTTPS_TOWN = 2
"""Number of the town that forwards by HTTPS; the others do by MQTT."""


class FederatedLevels:
    """Platforms of one server's databases: city, county, and towns, joined by lines of packets alone.

    Parameters
    ----------
    stack : closes all of it at its end
    databases : of the city, the county, and each town
    installation : with Mosquitto; county and city have one each in their namespaces
    folder : for spools
    seed : of what happens to packets

    Attributes
    ----------
    lines : of each town to the county; one town forwards over it by HTTPS, the others by MQTT
    uplink : of the county to the city

    """

    def __init__(
        self,
        stack: ExitStack,
        databases: Sequence[str],
        installation: Installation,
        folder: Path,
        *,
        seed: int,
    ) -> None:
        self.city, self.county, *self.towns = databases
        self._folder = folder
        database_port = int(str(conninfo_to_dict(self.city)["port"]))
        namespaces = [NetworkNamespace() for _ in databases]
        for one in namespaces:
            stack.callback(one.close)
            one.reach(database_port)
        self._city_namespace, self._county_namespace, *self._town_namespaces = namespaces
        self._city_broker = _broker(stack, installation, self._city_namespace, CITY_HOST)
        self._county_broker = _broker(stack, installation, self._county_namespace, COUNTY_HOST)
        self.uplink = PacketLine(self._city_namespace, self._county_namespace, number=100, seed=seed)
        self._county_namespace.configure(f"route add {CITY_HOST} dev {self.uplink.device}")
        self.lines: list[PacketLine] = []
        for number, town in enumerate(self._town_namespaces, 1):
            line = PacketLine(self._county_namespace, town, number=number, seed=seed + number)
            town.configure(f"route add {COUNTY_HOST} dev {line.device}")
            self.lines.append(line)
        for line in (self.uplink, *self.lines):
            stack.callback(line.close)
        for dsn, directory in zip(
            databases, [city_directory(), county_directory(), *map(town_directory, TOWNS)], strict=True
        ):
            with opened(dsn) as store:
                store.enrol(directory)
        self._county_url = self._start_gateway(stack)

    def _start_gateway(self, stack: ExitStack) -> CountyAddress:
        """Start the county's gateway, and return where and with which key a town forwards to it."""
        gateway = HttpsGateway(self.county, self.county, self._folder, COUNTY_HOST)
        key = self._folder / "town.key"
        key.write_text(gateway.new_key(TOWNS[HTTPS_TOWN]))
        with self._county_namespace.entered():
            stack.enter_context(running_processes(gateway.process))
        return CountyAddress(f"https://{COUNTY_HOST}:{gateway.port}", gateway.certificate, key)

    @contextmanager
    def running_county_and_city(self) -> Iterator[None]:
        """Receive at the city and the county, and forward from the county, while the context lasts."""
        with (
            receiving(self.city, self._city_broker, namespace=self._city_namespace),
            receiving(self.county, self._county_broker, namespace=self._county_namespace),
            forwarding(
                self.county,
                self._city_broker,
                self._folder,
                COUNTY,
                COUNTY_BOX,
                namespace=self._county_namespace,
                commands=COMMANDS,
                forecasts=True,
            ),
        ):
            yield

    def town_forwards(self, number: int, dsn: str | None = None) -> Any:
        """Forward from a town, or from another database as that town, while the context lasts."""
        return forwarding(
            dsn or self.towns[number],
            self._county_url if number == HTTPS_TOWN else self._county_broker,
            self._folder,
            TOWNS[number],
            box_of(TOWNS[number]),
            namespace=self._town_namespaces[number],
            commands=COMMANDS,
            forecasts=True,
        )

    def wait_until_equal(
        self, towns: Sequence[str], *, within_s: float = WITHIN_S, queries: Sequence[str] = COMPARED
    ) -> None:
        """Wait until county and city have the rows of all towns, each once and nothing else."""
        for query in queries:
            expected = sorted((row for dsn in towns for row in rows_of(dsn, query)), key=str)
            for level in (self.county, self.city):
                wait_until(
                    lambda level=level, query=query, expected=expected: (  # type: ignore[misc]
                        sorted(rows_of(level, query), key=str) == expected
                    ),
                    within_s=within_s,
                    what="county and city have what the towns have",
                )


def _broker(
    stack: ExitStack, installation: Installation, namespace: NetworkNamespace, host: str
) -> BrokerAddress:
    """Start a Mosquitto at an address of a namespace, and return where it is."""
    namespace.configure(f"address add {host} dev lo")
    server = MosquittoServer(installation, "mosquitto", host=host)
    stack.callback(server.remove)
    with namespace.entered():
        server.start()
    return BrokerAddress(host, server.port)
