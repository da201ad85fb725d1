"""A network of directed links between nodes, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes 0 … n_nodes - 1 and directed links between them.

    Attributes
    ----------
    n_nodes : how many
    tail, head : (n_links,) node that a link leaves, node that it reaches
    length_m : (n_links,) [m], above 0
    speed_m_s : (n_links,) usual speed of what flows [m/s], above 0

    Raises
    ------
    ValueError
        Where a link names no node, leads to itself, or has no length or speed.

    """

    n_nodes: int
    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    length_m: NDArray[np.float64]
    speed_m_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        for link in range(len(self.tail)):
            ends = (int(self.tail[link]), int(self.head[link]))
            if not all(0 <= node < self.n_nodes for node in ends):
                raise ValueError(f"link {link} joins nodes {ends}, there are 0 to {self.n_nodes - 1}")
            if ends[0] == ends[1]:
                raise ValueError(f"link {link} leads from node {ends[0]} to itself")
        for name in ("length_m", "speed_m_s"):
            for link in np.flatnonzero(~(getattr(self, name) > 0))[:1]:
                raise ValueError(f"link {link} has {name} {getattr(self, name)[link]:g}: it must be above 0")

    @property
    def travel_s(self) -> NDArray[np.float64]:
        """(n_links,) usual travel time of each link [s]."""
        return self.length_m / self.speed_m_s

    def quickest(self) -> NDArray[np.intp]:
        """(m,) links without those that have a quicker twin between the same two nodes."""
        order = np.lexsort((self.travel_s, self.head, self.tail))
        tail, head = self.tail[order], self.head[order]
        first = np.concatenate([[True], (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])])
        quickest: NDArray[np.intp] = order[first[: len(order)]]
        return quickest

    def against_the_flow(self, links: NDArray[np.intp]) -> csr_array:
        """(n_nodes, n_nodes) travel times from each node to those right upstream of it [s]."""
        shape = (self.n_nodes, self.n_nodes)
        return csr_array((self.travel_s[links], (self.head[links], self.tail[links])), shape=shape)
