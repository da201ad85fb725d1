"""Runs exported input files in SWMM 5: the demo's river without sections, and with all attributes.

``python -m benchmarks network_swmm``. SWMM comes with the package ``pyswmm``, which is not among the
requirements: ``pip install pyswmm``. Each file runs a day of dynamic wave with an inflow at every source.
SWMM has to read it without an error. Prints for each file how many nodes and links SWMM has and the
continuity error of flow, and last one JSON line.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deploy import demo
from deploy.network_files import formats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Directory, Link

INFLOW_M3_S = 2.0


def main() -> None:
    """Export, run, and print; exit with 1 if SWMM finds an error."""
    if find_spec("pyswmm") is None:
        sys.exit("network_swmm: SWMM is missing: pip install pyswmm")
    found = demo.directory()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            name: _run(Path(folder) / f"{name}.inp", directory)
            for name, directory in (("assumed", found), ("given", _equipped(found)))
        }
    print(json.dumps(results))


def _equipped(directory: Directory) -> Directory:
    """Return the networks with sections, roughness and beds that fall by 5 cm a node, and a sluice."""
    links = [
        msgspec.structs.replace(
            one,
            section_shape="trapezoidal",
            width_m=8.0,
            depth_m=4.0,
            side_slope=1.5,
            manning_n=0.028,
            structure="sluice" if at == 0 else None,
        )
        for at, one in enumerate(link for link in directory.links if link.network == "river")
    ]
    nodes = [msgspec.structs.replace(one, elevation_m=_steps_to_mouth(one.node_id, links) * 0.05)
             for one in directory.nodes if one.network == "river"]  # fmt: skip
    return msgspec.structs.replace(directory, nodes=nodes, links=links)


def _steps_to_mouth(node_id: str, links: Sequence[Link]) -> int:
    onward = [one.to_node for one in links if one.from_node == node_id]
    return 1 + max(_steps_to_mouth(one, links) for one in onward) if onward else 0


def _run(path: Path, directory: Directory) -> dict[str, float]:
    """Return how many nodes and links SWMM has, and the continuity error of flow in its report [%]."""
    from pyswmm import Links, Nodes, Simulation  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    formats.write_files(path, directory)
    sources = [one.node_id for one in directory.nodes if one.kind == "source" and one.network == "river"]
    with Simulation(str(path)) as simulation:
        nodes, links = Nodes(simulation), Links(simulation)
        for _ in simulation:
            for name in sources:
                nodes[name].generated_inflow(INFLOW_M3_S)
        result: dict[str, float] = {"nodes": len(list(nodes)), "links": len(list(links))}
    report = path.with_suffix(".rpt").read_text("utf-8", "replace")
    (error,) = re.findall(r"Flow Routing Continuity.*?Continuity Error \(%\) \.* +(\S+)", report, re.DOTALL)
    result["continuity_error_percent"] = float(error)
    print(f"{path.stem}: {result}")
    return result


if __name__ == "__main__":
    main()
