"""Chooses the place and time of one more sample, that would separate the candidate sources best.

The likeliest hypothesis of each candidate is carried forward through the network. Between two candidates
i and j with predictions c_i, c_j and variances s_i², s_j² the separation at a place and time is 1 - BC,
where BC is the Bhattacharyya coefficient of the two normal distributions; the gain is its mean over pairs,
weighted by the probabilities of both,

    gain = Σ_{i<j} P_i P_j (1 - BC_ij) / Σ_{i<j} P_i P_j.

Source: A. Bhattacharyya, Bull. Calcutta Math. Soc. 35, 1943; the bound on the probability of error is that of
T. Kailath, IEEE Trans. Commun. Technol. 15, 1967.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.water_response import concentrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.twin.source_inference import SourcePosterior
    from analytics.twin.water_response import FlowHistory, ModelVariant

    Floats = NDArray[np.float64]

MOST_CANDIDATES = 6
LEAST_PROBABILITY = 0.01
RELATIVE_ERROR = 0.3


class ExtraSample(NamedTuple):
    """Index of a node, step at whose end to sample, and the gain, 0 … 1."""

    node: int
    step: int
    gain: float


def best_extra_sample(
    history: FlowHistory,
    variants: Sequence[ModelVariant],
    posterior: SourcePosterior,
    candidates: NDArray[np.intp],
    nodes: NDArray[np.intp],
    *,
    from_step: int,
    noise: float,
) -> ExtraSample | None:
    """Return the best place and time from a step on; None if there is one candidate only.

    Parameters
    ----------
    history : steps of the inference, and as many after it as a sample may be taken in
    variants : of the inference
    candidates : (n_candidates,) their cells
    nodes : (n_nodes,) cells where a sample can be taken
    from_step : first step at whose end a sample can be taken
    noise : standard deviation of the sample [g/m³]

    """
    order = np.argsort(-posterior.probability, kind="stable")[:MOST_CANDIDATES]
    likely = order[posterior.probability[order] >= LEAST_PROBABILITY]
    if len(likely) < 2:
        return None
    predicted = np.zeros((len(likely), history.n_steps - from_step, len(nodes)))
    for row, candidate in enumerate(likely):
        best = int(posterior.hypotheses.log_likelihood[candidate].argmax())
        first = posterior.hypotheses.first_step[candidate, best]
        last = first + posterior.hypotheses.n_release_steps[candidate, best]
        release = np.zeros((history.n_steps, 1, 1))
        release[first:last] = posterior.hypotheses.rate_g_s[candidate, best]
        variant = variants[posterior.hypotheses.variant[candidate, best]]
        carried = concentrations(history, variant, release, candidates[candidate : candidate + 1])
        predicted[row] = carried[from_step:, nodes, 0]
    gain = _separation(predicted, posterior.probability[likely], noise)
    step, node = np.unravel_index(gain.argmax(), gain.shape)
    return ExtraSample(int(node), int(step) + from_step, float(gain[step, node]))


def _separation(predicted: Floats, probability: Floats, noise: float) -> Floats:
    """Return the gain of a sample at each step and node, (n_steps, n_nodes)."""
    variance = noise**2 + (RELATIVE_ERROR * predicted) ** 2
    gain, total = np.zeros(predicted.shape[1:]), 0.0
    for i in range(len(predicted)):
        for j in range(i):
            both = variance[i] + variance[j]
            coefficient = np.sqrt(2 * np.sqrt(variance[i] * variance[j]) / both)
            coefficient *= np.exp(-0.25 * (predicted[i] - predicted[j]) ** 2 / both)
            weight = probability[i] * probability[j]
            gain += weight * (1 - coefficient)
            total += weight
    return gain / total
