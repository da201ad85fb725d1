"""Simulate the demo towns with a plan of faults: the history fast, then the present in real time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from deploy.command_resources import broker_of_settings, stop_on_signals
from deploy.settings import CommonSettings, add_flags, load_settings
from edge.agent.settings import Settings as AgentSettings

if TYPE_CHECKING:
    import argparse


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the simulation of the demo towns."""

    seed: Annotated[int, Meta(description="Same seed, same readings.")] = 1
    history_days: Annotated[
        float,
        Meta(description="History that is played before the present.", extra={"unit": "d"}, ge=2, le=60),
    ] = 7.0
    catch_up_s: Annotated[
        float, Meta(description="Wall time in which the history is played.", extra={"unit": "s"}, gt=0)
    ] = 30.0
    spool: Annotated[Path, Meta(description="Folder of the devices' spools.")] = Path("spool")
    hj212_port: Annotated[
        int,
        Meta(
            description="Port of the HJ 212 server, on loopback, to which the demo's station uploads; 0"
            " leaves out the field devices (Modbus sonde, HJ 212 station, pulse counter).",
            ge=0,
            le=65535,
        ),
    ] = 0
    report: Annotated[Path, Meta(description="File that says how far the towns are.")] = Path("fleet.json")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, Settings, "simulate")
    add_flags(parser, AgentSettings, "edge")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Simulate until a stop signal; return 1 if a device ended with an exception."""
    from deploy import agent_fleet, demo
    from deploy.demo import field_devices
    from deploy.play_clock import DAY_S, PlayClock

    settings = load_settings(Settings, "simulate", args, os.environ)
    agent = load_settings(AgentSettings, "edge", args, os.environ)
    broker = broker_of_settings(common)
    stop = stop_on_signals()
    clock = PlayClock(time.time(), history_s=settings.history_days * DAY_S, catch_up_s=settings.catch_up_s)
    town = demo.town(seed=settings.seed, live_from_s=clock.live_from_s, history_s=clock.history_s)
    members = [
        agent_fleet.FleetMember(device.area_id, device.device_id, town.driver(device.device_id))
        for device in demo.directory().devices
    ]
    stations: list[agent_fleet.FleetStation] = []
    if settings.hj212_port:
        members += field_devices.instruments(seed=settings.seed)
        port, spools = settings.hj212_port, settings.spool
        stations.append(field_devices.hj212_station(seed=settings.seed, port=port, spools=spools))
    last = agent_fleet.run_fleet(
        members,
        stations=stations,
        folder=settings.spool,
        broker=broker,
        settings=agent,
        clock=clock,
        stop=stop,
        report=agent_fleet.progress_writer(settings.report),
        live_from_s=clock.live_from_s,
    )
    return 1 if last.faults else 0
