"""Builds a synthetic canal network of a tidal plain: levels at its border drive and reverse the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.linalg import splu

from analytics.twin.channel_grid import ChannelGrid, divide_reaches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS, COLUMNS = 12, 18
SPACING_M = 650.0
DROPPED = 0.3  # share of the reaches of the full lattice that are left out
N_OUTFALLS = 40
TIDE_S = 12.42 * 3600
MEAN_SPEED_M_S = 0.12


class PlainNetwork(NamedTuple):
    """A network with outfalls and heads at its border.

    Attributes
    ----------
    xy_m : (n_nodes, 2) places [m]
    tail, head : (n_reaches,) nodes
    length_m, area_m2 : (n_reaches,)
    outfalls : nodes at which something may be released
    conveyance : (n_reaches,) discharge per head difference [m²/s]
    border : nodes of given head
    phase : (n_border, 3) mean [m], amplitude [m] and phase of the tide at each

    """

    xy_m: Floats
    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    length_m: Floats
    area_m2: Floats
    outfalls: NDArray[np.intp]
    conveyance: Floats
    border: NDArray[np.intp]
    phase: Floats

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.xy_m)

    def grid(self, cell_m: float) -> ChannelGrid:
        """Return the cells of the network."""
        return divide_reaches(
            self.n_nodes,
            self.tail,
            self.head,
            length_m=self.length_m,
            area_m2=self.area_m2,
            cell_m=cell_m,
        )

    def discharges(self, time_s: Floats) -> Floats:
        """Return the discharge of each reach at each time, (n_times, n_reaches) [m³/s]."""
        n = self.n_nodes
        ends = np.concatenate([self.tail, self.head])
        others = np.concatenate([self.head, self.tail])
        both = np.concatenate([self.conveyance, self.conveyance])
        laplacian = coo_array((-both, (ends, others)), (n, n)).tocsc()
        laplacian.setdiag(np.bincount(ends, both, n))
        inner = np.setdiff1d(np.arange(n), self.border)
        mean, amplitude, phase = self.phase.T
        levels = mean + amplitude * np.sin(2 * np.pi * time_s[:, None] / TIDE_S + phase)
        head_m = np.empty((n, len(time_s)))
        head_m[self.border] = levels.T
        coupling = laplacian[inner][:, self.border] @ levels.T
        head_m[inner] = splu(laplacian[inner][:, inner].tocsc()).solve(-coupling)
        flow: Floats = (self.conveyance[:, None] * (head_m[self.tail] - head_m[self.head])).T
        return flow


def build(seed: int = 1) -> PlainNetwork:
    """Return the network of a seed: a lattice with reaches left out, one connected part."""
    rng = np.random.default_rng(seed)
    n = ROWS * COLUMNS
    row, column = np.divmod(np.arange(n), COLUMNS)
    xy_m = SPACING_M * (np.stack([column, row], axis=1) + rng.uniform(-0.3, 0.3, (n, 2)))
    right = np.flatnonzero(column < COLUMNS - 1)
    down = np.flatnonzero(row < ROWS - 1)
    tail = np.concatenate([right, down])
    head = np.concatenate([right + 1, down + COLUMNS])
    tree = minimum_spanning_tree(
        coo_array((rng.uniform(1, 2, len(tail)), (tail, head)), (n, n)).tocsr()
    ).tocoo()
    in_tree = np.isin(tail * n + head, tree.row.astype(np.intp) * n + tree.col)
    kept = in_tree | (rng.uniform(size=len(tail)) > DROPPED * len(tail) / (~in_tree).sum())
    tail, head = tail[kept], head[kept]
    assert connected_components(coo_array((np.ones(len(tail)), (tail, head)), (n, n)))[0] == 1
    length_m = 1.1 * np.hypot(*(xy_m[tail] - xy_m[head]).T)
    area_m2 = rng.lognormal(np.log(25), 0.4, len(tail))
    conveyance = area_m2**1.5 / length_m
    border = np.concatenate([np.flatnonzero(column == 0)[::3], np.flatnonzero(column == COLUMNS - 1)[::2]])
    is_tidal = column[border] > 0
    phase = np.stack(
        [
            np.where(is_tidal, rng.normal(0, 0.05, len(border)), 1.0 + rng.normal(0, 0.1, len(border))),
            np.where(is_tidal, 1.6, 0.05),
            rng.normal(0, 0.3, len(border)),
        ],
        axis=1,
    )
    inside = np.setdiff1d(np.arange(n), border)
    outfalls = np.sort(rng.choice(inside, N_OUTFALLS, replace=False))
    network = PlainNetwork(xy_m, tail, head, length_m, area_m2, outfalls, conveyance, border, phase)
    speed = np.abs(network.discharges(np.arange(0, TIDE_S, 3600)) / area_m2)
    return network._replace(conveyance=conveyance * MEAN_SPEED_M_S / speed.mean())
