"""Tests the capacity calculation: its arithmetic, its refusals, and that the documentation has its table."""

from __future__ import annotations

import pytest

from deploy.capacity import area_levels, cost_model
from deploy.capacity.cost_model import Load, Machine, MeasuredCosts, ProcessCosts
from tests.support.processes import REPOSITORY, run_command

COSTS = MeasuredCosts(
    measured="by hand",
    processes={
        "ingest": ProcessCosts(0.1, 0.01, 0.001, 0.0001),
        "database": ProcessCosts(0.0, 0.0, 0.0, 0.0002),
        "broker": ProcessCosts(0.0, 0.0, 0.0001, 0.0),
    },
    reading_bytes=100.0,
    rollup_bytes=150.0,
    ingest_bytes=2e8,
    series_bytes=2000.0,
)


def test_cores_shards_memory_and_disk_follow_from_the_costs() -> None:
    needed = cost_model.calculate(COSTS, Load(1000, 4, 10.0, 4))  # 400 readings/s in 100 messages/s
    assert needed.cores == pytest.approx({"ingest": 0.1 + 0.2 + 0.1 + 0.04, "database": 0.08, "broker": 0.01})
    assert needed.shards == 1
    assert needed.memory_bytes == 2e8 + 4000 * 2000.0
    rollup_rows_per_s = 4000 / 60 + 4000 / 900 + 4000 / 3600 + 4000 / 86_400
    assert needed.disk_bytes_per_year == pytest.approx(365 * 86_400 * (40_000 + 150 * rollup_rows_per_s))
    assert cost_model.calculate(COSTS, Load(10_000, 4, 10.0, 4)).shards > 1


def test_a_process_uses_half_a_core_at_its_limit() -> None:
    load = Load(1000, 4, 10.0, 4)
    for name in COSTS.processes:
        at_limit = load._replace(devices=cost_model.devices_at_limit(COSTS, load, name))
        assert cost_model.cores_used(COSTS, at_limit)[name] == pytest.approx(0.5, rel=0.01)
    first, *_ = cost_model.calculate(COSTS, load).limits
    assert (first.devices, first.resource) == (1_428, "ingest")


def test_the_next_limit_is_the_nearest_of_processor_memory_file_handles_and_disk() -> None:
    """It was that of a processor alone, in millions of devices, where 1,024 file handles come first."""
    load = Load(400, 4, 300.0, 4)
    free = Machine(memory_bytes=1e15, file_handles=10**9)
    assert cost_model.calculate(COSTS, load, free).limits[0].resource == "ingest"
    for machine, resource in (
        (free._replace(memory_bytes=1e9), "memory"),
        (free._replace(file_handles=1_024), "file handles"),
        (free._replace(disk_bytes=1e10), "disk"),
    ):
        first, *later = cost_model.calculate(COSTS, load, machine).limits
        assert first.resource == resource
        assert all(first.devices <= one.devices for one in later)
    assert cost_model.calculate(COSTS, load, free._replace(file_handles=1_024)).limits[0].devices < 1_024
    at_disk = cost_model.calculate(COSTS, load, free._replace(disk_bytes=1e10)).limits[0].devices
    assert cost_model.calculate(COSTS, load._replace(devices=at_disk)).disk_bytes_per_year <= 1e10


def test_the_documentation_has_the_table_that_the_command_prints() -> None:
    printed = run_command("capacity", "--table").stdout.strip()
    assert printed == area_levels.markdown_table(cost_model.read_costs())
    assert printed in (REPOSITORY / "docs/capacity.md").read_text()


def test_the_command_prints_what_devices_need_and_refuses_none() -> None:
    done = run_command("capacity", "--devices", "400", "--interval", "300")
    assert done.returncode == 0
    assert "1,600 series, 5.3 readings/s, 1.3 messages/s" in done.stdout
    assert "next limit at" in done.stdout
    for wrong in (
        [],
        ["--devices", "0"],
        ["--devices", "5", "--interval", "inf"],
        ["--devices", "5", "--interval", "-1"],
        ["--devices", "5", "--interval", "nan"],
        ["--devices", "5", "--interval", "1e308"],
        ["--devices", "5", "--interval", "5e-324"],
        ["--devices", "5", "--interval", "1e-300"],
        ["--devices", "9" * 340],
    ):
        refused = run_command("capacity", *wrong)
        assert refused.returncode == 2
        assert wrong[-2:-1] == [] or wrong[-2] in refused.stderr
        assert "Traceback" not in refused.stderr
