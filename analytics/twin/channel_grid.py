"""Divides river reaches into cells, the finite volumes on which water quality is computed.

The centre of a cell is a node of the network or a point within a reach. A *face* lies halfway between two
neighbouring centres, and the water between them belongs half to either cell. At a confluence the one cell of
the node mixes what all of its reaches bring, C = Σ Q C / Σ Q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.errors import TwinModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelGrid:
    """Cells 0 … n_cells - 1 and the faces between them; the first n_nodes cells are those of the nodes.

    Attributes
    ----------
    n_nodes, n_cells : number of nodes of the network, number of cells
    tail, head : (n_faces,) cells that a face joins; flow from tail to head is positive
    distance_m : (n_faces,) between the two centres [m]
    area_m2 : (n_faces,) wetted cross-section [m²]
    reach : (n_faces,) index of the reach that a face lies in
    volume_m3 : (n_cells,) [m³]

    """

    n_nodes: int
    n_cells: int
    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    distance_m: Floats
    area_m2: Floats
    reach: NDArray[np.intp]
    volume_m3: Floats

    def scaled(self, velocity_factor: Floats) -> ChannelGrid:
        """Return the grid on which the same discharge flows faster by a factor, (n_reaches,) above 0.

        The cross-sections are divided by the factor, so that discharges still balance at every node.
        """
        area_m2 = self.area_m2 / velocity_factor[self.reach]
        volume_m3 = _volumes(self.n_cells, self.tail, self.head, self.distance_m * area_m2)
        return ChannelGrid(
            self.n_nodes,
            self.n_cells,
            self.tail,
            self.head,
            self.distance_m,
            area_m2,
            self.reach,
            volume_m3,
        )


def divide_reaches(
    n_nodes: int,
    tail: NDArray[np.intp],
    head: NDArray[np.intp],
    *,
    length_m: Floats,
    area_m2: Floats,
    cell_m: float,
) -> ChannelGrid:
    """Return the cells of a network of reaches, each at most ``cell_m`` long.

    Parameters
    ----------
    n_nodes : number of nodes
    tail, head : (n_reaches,) node at which a reach begins, node at which it ends
    length_m, area_m2 : (n_reaches,) length [m] and wetted cross-section [m²], finite and above 0
    cell_m : greatest length of a cell [m]

    Raises
    ------
    TwinModelError
        If a reach joins an unknown node or a node with itself, or has no valid length or cross-section, if
        a node has no reach, or if ``cell_m`` is not above 0.

    Examples
    --------
    >>> ends = np.array([0]), np.array([1])
    >>> grid = divide_reaches(2, *ends, length_m=np.array([900.]), area_m2=np.array([10.]), cell_m=300)
    >>> grid.volume_m3.tolist(), grid.tail.tolist(), grid.head.tolist()
    ([1500.0, 1500.0, 3000.0, 3000.0], [0, 2, 3], [2, 3, 1])

    """
    _check_reaches(n_nodes, tail, head, length_m, area_m2)
    if not cell_m > 0:
        raise TwinModelError(f"cell_m is {cell_m:g}: cells must be longer than 0 m")
    parts = np.ceil(length_m / cell_m - 1e-9).astype(np.intp).clip(min=1)
    reach = np.repeat(np.arange(len(parts)), parts)
    first = np.cumsum(parts) - parts  # first face of each reach
    number = np.arange(len(reach)) - first[reach]  # number of a face within its reach
    inner = n_nodes + (first - np.arange(len(parts)))[reach] + number  # the cell that a face leads to
    is_first, is_last = number == 0, number == parts[reach] - 1
    face_tail = np.where(is_first, tail[reach], inner - 1)
    face_head = np.where(is_last, head[reach], inner)
    n_cells = n_nodes + int((parts - 1).sum())
    distance_m = (length_m / parts)[reach]
    area = area_m2[reach]
    return ChannelGrid(
        n_nodes,
        n_cells,
        face_tail,
        face_head,
        distance_m,
        area,
        reach,
        _volumes(n_cells, face_tail, face_head, distance_m * area),
    )


def _volumes(n_cells: int, tail: NDArray[np.intp], head: NDArray[np.intp], between_m3: Floats) -> Floats:
    both = np.bincount(tail, between_m3, n_cells) + np.bincount(head, between_m3, n_cells)
    halves: Floats = 0.5 * both.astype(np.float64)
    return halves


def _check_reaches(
    n_nodes: int, tail: NDArray[np.intp], head: NDArray[np.intp], length_m: Floats, area_m2: Floats
) -> None:
    if len({len(tail), len(head), len(length_m), len(area_m2)}) > 1:
        raise TwinModelError("tail, head, length_m and area_m2 differ in size: each reach needs all of them")
    wrong = (np.minimum(tail, head) < 0) | (np.maximum(tail, head) >= n_nodes) | (tail == head)
    for reach in np.flatnonzero(wrong)[:1]:
        raise TwinModelError(
            f"reach {reach} joins nodes {tail[reach]} and {head[reach]}: "
            f"it must join two different nodes of 0 to {n_nodes - 1}"
        )
    for name, values in (("length_m", length_m), ("area_m2", area_m2)):
        for reach in np.flatnonzero(~((values > 0) & np.isfinite(values)))[:1]:
            raise TwinModelError(f"reach {reach} has {name} {values[reach]:g}: it must be finite and above 0")
    alone = np.bincount(np.concatenate([tail, head]), minlength=n_nodes) == 0
    for node in np.flatnonzero(alone)[:1]:
        raise TwinModelError(f"node {node} has no reach: leave it out, or join it to the network")
