"""Computes responses to releases where water moves through its reaches as a plug, without dispersion.

In pipes, and in channels whose cells cannot resolve the dispersion, implicit steps smear a release over
several cells; here every parcel is followed. Water that leaves a reach at time t has entered it at t - θ,
the time at which the volume that has passed since then is that of the reach; where the flow has reversed in
between, it may have entered at the same end. At a node

    C_n(t) = a C_n(t - δ) + (1 - a) [ Σ_r q_r C_o(r,t)(t - θ_r(t)) + s_n(t) ] / T_n(t),   a = V / (V + T δ),

with q_r what reach r brings, o(r, t) the node its water comes from, T all of the inflow, V the volume mixed
at the node (a tank; 0 at a junction). One pass backward in time from each observation gives its derivatives
by all sources (particle backtracking: F. Shang, J. G. Uber, M. M. Polycarpou, J. Environ. Eng. 128, 2002).
Fractions of steps of θ are interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.errors import TwinModelError
from analytics.twin.compilation import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

NOWHERE = -1  # origin of water that has been in its reach since the beginning
LEAST_WEIGHT = 1e-9  # of a parcel that is still followed


@dataclass(frozen=True, slots=True)
class PlugFlowHistory:
    """What the water did over equal, short steps.

    Attributes
    ----------
    tail, head : (n_reaches,) nodes that a reach joins; flow from tail to head is positive
    volume_m3 : (n_reaches,) [m³], above 0
    dt_s : length of a step [s]
    flow_m3_s : (n_steps, n_reaches) discharge in each step [m³/s]
    storage_m3 : (n_steps, n_nodes) volume that is mixed at a node at the beginning of each step, or 0 [m³]

    """

    tail: NDArray[np.intp]
    head: NDArray[np.intp]
    volume_m3: Floats
    dt_s: float
    flow_m3_s: Floats
    storage_m3: Floats


@compiled
def _origins(
    passed_m3: Floats, flow_m3_s: Floats, volume_m3: Floats, tail: Indices, head: Indices
) -> tuple[Indices, Floats]:
    """Return the node that water leaving each reach in each step comes from, and how long ago [steps].

    ``passed_m3`` : (n_steps + 1, n_reaches) volume from tail to head since the beginning
    """
    n_steps, n_reaches = flow_m3_s.shape
    origin = np.full((n_steps, n_reaches), NOWHERE, np.int64)
    lag = np.zeros((n_steps, n_reaches))
    for r in range(n_reaches):
        for t in range(n_steps):
            if flow_m3_s[t, r] == 0:
                continue
            sign = 1.0 if flow_m3_s[t, r] > 0 else -1.0
            last = 0.0
            for before in range(t, -1, -1):
                moved = sign * (passed_m3[t + 1, r] - passed_m3[before, r])
                if moved >= volume_m3[r] or moved <= 0:
                    limit = volume_m3[r] if moved >= volume_m3[r] else 0.0
                    entered_at_tail = (moved > 0) == (sign > 0)
                    origin[t, r] = tail[r] if entered_at_tail else head[r]
                    lag[t, r] = t - before + (limit - last) / (moved - last)
                    break
                last = moved
    return origin, lag


@compiled
def _order(  # noqa: C901 - one loop, compiled
    flow_m3_s: Floats, tail: Indices, head: Indices, n_nodes: int
) -> Indices:
    """Return the nodes of each step against the flow, (n_steps, n_nodes): those downstream first."""
    n_steps, n_reaches = flow_m3_s.shape
    order = np.empty((n_steps, n_nodes), np.int64)
    for t in range(n_steps):
        waits = np.zeros(n_nodes, np.int64)
        for r in range(n_reaches):
            if flow_m3_s[t, r] != 0:
                waits[tail[r] if flow_m3_s[t, r] > 0 else head[r]] += 1
        placed, done = 0, np.zeros(n_nodes, np.bool_)
        while placed < n_nodes:
            before = placed
            for n in range(n_nodes):
                if not done[n] and waits[n] <= 0:
                    done[n] = True
                    order[t, placed] = n
                    placed += 1
                    for r in range(n_reaches):
                        flow = flow_m3_s[t, r]
                        if flow > 0 and head[r] == n:
                            waits[tail[r]] -= 1
                        elif flow < 0 and tail[r] == n:
                            waits[head[r]] -= 1
            if placed == before:  # a cycle, which a pump may drive: any of its nodes is first
                for n in range(n_nodes):
                    if not done[n]:
                        waits[n] = 0
                        break
    return order


@compiled
def _follow(  # noqa: C901, PLR0912 - one loop, compiled
    origin: Indices,
    lag: Floats,
    flow_m3_s: Floats,
    head: Indices,
    order: Indices,
    storage_m3: Floats,
    dt_s: float,
    reach_ptr: Indices,
    reach_at: Indices,
    node: int,
    step: int,
    column: Indices,
    steps_per_release: int,
    weight: Floats,
    response: NDArray[np.float32],
) -> None:
    """Add one observation's response, (n_candidates, n_releases); ``weight``, (n_steps, n_nodes), is 0."""
    n_nodes = order.shape[1]
    rank = np.empty(n_nodes, np.int64)
    weight[step, node] = 1.0
    for t in range(step, -1, -1):
        for i in range(n_nodes):
            rank[order[t, i]] = i
        for i in range(n_nodes):
            n = order[t, i]
            own = weight[t, n]
            weight[t, n] = 0.0
            if own < LEAST_WEIGHT:
                continue
            brought, taken = 0.0, 0.0
            for at in range(reach_ptr[n], reach_ptr[n + 1]):
                r = reach_at[at]
                inward = flow_m3_s[t, r] if head[r] == n else -flow_m3_s[t, r]
                brought += max(inward, 0.0)
                taken += max(-inward, 0.0)
            total = brought if storage_m3[t, n] > 0 else max(brought, taken)
            kept = 1.0
            if total > 0:
                kept = storage_m3[t, n] / (storage_m3[t, n] + total * dt_s)
            if kept > 0 and t > 0:
                weight[t - 1, n] += kept * own
            own *= 1.0 - kept
            if own < LEAST_WEIGHT:
                continue
            if column[n] >= 0:
                response[column[n], t // steps_per_release] += own / total
            for at in range(reach_ptr[n], reach_ptr[n + 1]):
                r = reach_at[at]
                inward = flow_m3_s[t, r] if head[r] == n else -flow_m3_s[t, r]
                source = origin[t, r]
                if inward <= 0 or source < 0:
                    continue
                part = own * inward / total
                whole = int(lag[t, r])
                share = lag[t, r] - whole
                if whole == 0 and rank[source] <= i:  # has been passed in this step
                    share = 1.0
                if t - whole >= 0:
                    weight[t - whole, source] += (1 - share) * part
                if t - whole >= 1:
                    weight[t - whole - 1, source] += share * part


def plug_flow_response(
    history: PlugFlowHistory,
    velocity_factor: Floats,
    *,
    sensor: NDArray[np.intp],
    step: NDArray[np.intp],
    candidates: NDArray[np.intp],
    steps_per_release: int,
) -> NDArray[np.float32]:
    """Return the response of observations to releases, (n_observations, n_candidates, n_releases) [s/m³].

    Parameters
    ----------
    velocity_factor : (n_reaches,) by which the same discharge flows faster
    sensor, step : (n_observations,) node of each observation, step of the history at whose end it was made
    candidates : (n_candidates,) nodes where a release is possible
    steps_per_release : steps of the history in one of the release, a divisor of their number

    Raises
    ------
    TwinModelError
        If an observation is outside of the history, or the steps cannot be divided.

    """
    n_steps, n_nodes = history.storage_m3.shape
    for outside in np.flatnonzero((step < 0) | (step >= n_steps))[:1]:
        raise TwinModelError(
            f"observation {outside} is of step {step[outside]}: there are 0 to {n_steps - 1}"
        )
    if steps_per_release < 1 or n_steps % steps_per_release:
        raise TwinModelError(
            f"{n_steps} steps cannot be divided into releases of {steps_per_release}: give a divisor"
        )
    tail, head = history.tail.astype(np.int64), history.head.astype(np.int64)
    passed = np.concatenate([np.zeros((1, len(tail))), np.cumsum(history.flow_m3_s * history.dt_s, axis=0)])
    origin, lag = _origins(passed, history.flow_m3_s, history.volume_m3 / velocity_factor, tail, head)
    order = _order(history.flow_m3_s, tail, head, n_nodes)
    ends = np.concatenate([tail, head])
    reach_at = np.tile(np.arange(len(tail)), 2)[np.argsort(ends, kind="stable")]
    reach_ptr = np.searchsorted(np.sort(ends), np.arange(n_nodes + 1)).astype(np.int64)
    column = np.full(n_nodes, -1, np.int64)
    column[candidates] = np.arange(len(candidates))
    weight = np.zeros((n_steps, n_nodes))
    shape = (len(sensor), len(candidates), n_steps // steps_per_release)
    response = np.zeros(shape, np.float32)
    for number in range(len(sensor)):
        _follow(
            origin,
            lag,
            history.flow_m3_s,
            head,
            order,
            history.storage_m3,
            history.dt_s,
            reach_ptr,
            reach_at,
            int(sensor[number]),
            int(step[number]),
            column,
            steps_per_release,
            weight,
            response[number],
        )
    return response
