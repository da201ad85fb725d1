"""Settings of `towntwin access`: the broker that it administers, its authority, and how often it looks."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the annotations
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the process that passes the access of devices on to the broker."""

    kind: Annotated[
        Literal["mosquitto", "rabbitmq"],
        Meta(description="Broker: mosquitto (dynamic security plugin) or rabbitmq (management plugin)."),
    ] = "mosquitto"
    admin: Annotated[
        str | None,
        Meta(
            description="The broker as its administrator: mqtts://user@host:port of Mosquitto, else"
            " http(s)://user@host:15672 of RabbitMQ; TLS files as TOWNTWIN_BROKER_….",
            extra={"password": "not by flag"},
        ),
    ] = None
    admin_password_file: Annotated[
        Path | None, Meta(description="File with the administrator's password in its first line.")
    ] = None
    vhost: Annotated[str, Meta(description="Virtual host of RabbitMQ's MQTT plugin.")] = "/"
    authority: Annotated[
        Path | None,
        Meta(
            description="Folder with ca.crt and ca.key that sign devices' certificates; without it they get"
            " passwords only."
        ),
    ] = None
    renew_days: Annotated[
        float,
        Meta(
            description="Devices' certificates are issued anew so long before they end; the device collects"
            " them by `towntwin edge renew`.",
            extra={"unit": "d"},
            gt=0,
        ),
    ] = 60.0
    poll_s: Annotated[
        float, Meta(description="How often it looks for decisions.", extra={"unit": "s"}, gt=0, le=60)
    ] = 1.0
    compare_s: Annotated[
        float,
        Meta(description="How often it compares all devices with the broker.", extra={"unit": "s"}, gt=0),
    ] = 60.0
    metrics_port: Annotated[
        int,
        Meta(
            description="Port of the metrics, on loopback; 0 serves none.",
            ge=0,
            le=65535,
        ),
    ] = 0
