"""Distributes the capacity of outgoing links over incoming ones at all junctions of a network at once.

First in, first out: a vehicle that can't enter its link holds back those behind it, whatever their direction.
Scarce capacity goes to incoming links in proportion to theirs, or to given priorities, and none is left over
that a waiting vehicle could use
(C. M. J. Tampère, R. Corthout, D. Cattrysse and L. H. Immers, Transp. Res. B 45 (1), 2011).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

TIE = 1 + 1e-12  # reductions that differ by rounding only belong together


def junction_outflows(  # noqa: PLR0917 - arrays of one junction model
    sending: Floats, receiving: Floats, capacity: Floats, from_link: Indices, to_link: Indices, shares: Floats
) -> Floats:
    """Return the vehicles that leave each incoming link, (n_in,), between 0 and ``sending``.

    Parameters
    ----------
    sending : (n_in,) vehicles that want to leave
    receiving : (n_out,) vehicles that can enter
    capacity : (n_in,) priority of each incoming link where capacity is scarce
    from_link, to_link, shares : (n_movements,) of the vehicles of an incoming link, to an outgoing one;
        all movements
        into an outgoing link are at the same junction

    """
    demanded = np.bincount(to_link, sending[from_link] * shares, len(receiving))
    is_scarce = demanded > receiving
    outflow = sending.copy()
    if not is_scarce.any():
        return outflow
    # a link with enough capacity for its demand can not become scarce: flows only fall below the demand
    is_bound = is_scarce[to_link] & (shares > 0) & (sending[from_link] > 0)
    source, target, share = from_link[is_bound], to_link[is_bound], shares[is_bound]
    supply = receiving.copy()
    while len(source):
        requested = np.bincount(target, capacity[source] * share, len(supply))
        reduction = np.divide(supply, requested, out=np.full(len(supply), np.inf), where=requested > 0)
        own = np.full(len(sending), np.inf)
        np.minimum.at(own, source, reduction[target])
        is_decided = sending <= own * capacity  # gets all it wants, and reductions only grow
        if not is_decided[source].any():
            # otherwise the outgoing links that are the scarcest of all of their users serve these
            is_other = reduction[target] > own[source] * TIE
            is_final = np.bincount(target, is_other, len(supply)) == 0
            is_decided[source[is_final[target]]] = True
        is_used = is_decided[source]
        users = source[is_used]
        outflow[users] = np.minimum(sending[users], own[users] * capacity[users])
        taken = np.bincount(target[is_used], outflow[users] * share[is_used], len(supply))
        supply = np.maximum(supply - taken, 0)
        source, target, share = source[~is_used], target[~is_used], share[~is_used]
    return outflow
