"""A network of directed links between nodes, as arrays."""

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
    n_nodes : how many
    tail, head : (n_links,) node that a link leaves, node that it reaches
    length_m : (n_links,) [m], finite and above 0
    speed_m_s : (n_links,) usual speed of what flows [m/s], finite and above 0

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
        sizes = [len(self.tail), len(self.head), len(self.length_m), len(self.speed_m_s)]
        if len(set(sizes)) > 1:
            raise ValueError(f"tail, head, length_m, speed_m_s have sizes {sizes}: each link needs all")
        low, high = np.minimum(self.tail, self.head), np.maximum(self.tail, self.head)
        for link in _first_wrong((low < 0) | (high >= self.n_nodes)):
            ends = (int(self.tail[link]), int(self.head[link]))
            raise ValueError(f"link {link} joins nodes {ends}, there are 0 to {self.n_nodes - 1}")
        for link in _first_wrong(low == high):
            raise ValueError(f"link {link} leads from node {low[link]} to itself")
        for name, values in (("length_m", self.length_m), ("speed_m_s", self.speed_m_s)):
            for link in _first_wrong(~((values > 0) & np.isfinite(values))):
                raise ValueError(f"link {link} has {name} {values[link]:g}: it must be finite and above 0")

    @property
    def travel_s(self) -> NDArray[np.float64]:
        """(n_links,) usual travel time of each link [s]."""
        return self.length_m / self.speed_m_s

    def quickest_links(self) -> NDArray[np.intp]:
        """(m,) links without those that have a quicker twin between the same two nodes; by tail and head."""
        order = np.lexsort((self.travel_s, self.head, self.tail))
        tail, head = self.tail[order], self.head[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        quickest_links: NDArray[np.intp] = order[first]
        return quickest_links

    def upstream_travel_times(self, links: NDArray[np.intp]) -> csr_array:
        """(n_nodes, n_nodes) travel times from each node to those right upstream of it [s]."""
        from scipy.sparse import csr_array  # noqa: PLC0415 - loaded where something is traced: 25 MB

        shape = (self.n_nodes, self.n_nodes)
        return csr_array((self.travel_s[links], (self.head[links], self.tail[links])), shape=shape)


def _first_wrong(wrong: NDArray[np.bool_]) -> list[int]:
    """The first that is wrong, in a list; an empty one where none is."""
    found: list[int] = np.flatnonzero(wrong)[:1].tolist()
    return found
