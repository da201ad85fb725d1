"""Represents a river or road network as arrays of directed links with length and usual speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class FlowNetwork:
    """Nodes 0 … n_nodes - 1 and directed links between them; several may join the same two nodes.

    Attributes
    ----------
    n_nodes : number of nodes
    tail, head : (n_links,) node at which a link begins, node at which it ends
    length_m : (n_links,) [m], finite and above 0
    speed_m_s : (n_links,) usual speed of the water or traffic [m/s], finite and above 0

    Raises
    ------
    ValueError
        If a link has an unknown node, begins and ends at the same node, or has no valid length or speed.

    """

    n_nodes: int
    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    length_m: NDArray[np.float64]
    speed_m_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        sizes = [len(self.tail), len(self.head), len(self.length_m), len(self.speed_m_s)]
        if len(set(sizes)) > 1:
            raise ValueError(f"tail, head, length_m, speed_m_s have sizes {sizes}: each link needs all")
        lower_node, upper_node = np.minimum(self.tail, self.head), np.maximum(self.tail, self.head)
        for link in _first_wrong((lower_node < 0) | (upper_node >= self.n_nodes)):
            ends = (int(self.tail[link]), int(self.head[link]))
            raise ValueError(f"link {link} joins nodes {ends}, there are 0 to {self.n_nodes - 1}")
        for link in _first_wrong(lower_node == upper_node):
            raise ValueError(f"link {link} leads from node {lower_node[link]} to itself")
        for name, values in (("length_m", self.length_m), ("speed_m_s", self.speed_m_s)):
            for link in _first_wrong(~((values > 0) & np.isfinite(values))):
                raise ValueError(f"link {link} has {name} {values[link]:g}: it must be finite and above 0")

    @property
    def travel_s(self) -> NDArray[np.float64]:
        """Usual travel time of each link, (n_links,) [s]."""
        return self.length_m / self.speed_m_s

    def quickest_links(self) -> NDArray[np.intp]:
        """Return the quickest of the links between each pair of nodes, (m,), sorted by tail and head."""
        order = np.lexsort((self.travel_s, self.head, self.tail))
        tail, head = self.tail[order], self.head[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        quickest_links: NDArray[np.intp] = order[first]
        return quickest_links

    def upstream_travel_times(self, links: NDArray[np.intp]) -> csr_array:
        """Return travel times from each node to its direct upstream nodes, (n_nodes, n_nodes) sparse [s]."""
        from scipy.sparse import csr_array  # noqa: PLC0415 - imported on the first trace: 25 MB

        shape = (self.n_nodes, self.n_nodes)
        return csr_array((self.travel_s[links], (self.head[links], self.tail[links])), shape=shape)


def _first_wrong(wrong: NDArray[np.bool_]) -> list[int]:
    """Return the index of the first True in a list; an empty list if there is none."""
    first_position: list[int] = np.flatnonzero(wrong)[:1].tolist()
    return first_position
