"""Infers where, when, how much and how long something was released, from concentrations at sensors.

A *hypothesis* is a candidate node, a model variant, the step of the first release, a duration and an amount.
Its likelihood compares what it predicts, p, with every observation y. Detects are normal about p with the
variance σ² of the sensor and of the model together; a non-detect at limit l has the probability that a
reading falls below it, so that clean water at a sensor is evidence (a sensor that reports values below its
limit gives more with the value, for which the first term holds):

    log L = β Σ [ log N(y; p, σ²)   or   log Φ((l - p) / σ) ],   σ² = s² + (ρ p)² + (τ ∂p/∂t)²,

with ∂p/∂t the change of the prediction with a later release: a model whose velocities are wrong has the right
concentration at the wrong time.

β < 1 counts the observations as fewer than they are, because the errors of a model are alike from one reading
to the next (a power posterior). β, ρ and τ are arguments; ``benchmarks/trace.py`` measures on releases in a
synthetic network whether the credible sets hold the truth as often as they should. The prior is uniform over
candidates (or as given), times, durations and variants; the logarithm of the amount is normal, so wide that
only absurd amounts count less. The posterior of a candidate is the sum over all else:

    P(candidate | y) = Σ_{variant, time, duration, amount} L / Σ of all.

Amounts enter linearly, so for each hypothesis the best one follows from weighted least squares; the few best
times and durations of each candidate and variant are then summed over a range of amounts about it, most of
it above: where the time is not quite right, the best amount is too low.

ρ and τ are a guess of how wrong the model is. Where it may also be right, `InferenceOptions.error_scales`
has several sizes of its errors: the posterior is summed over them, and the readings decide
(`docs/decisions/0124`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_ndtr, logsumexp

from analytics.errors import TwinModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AMOUNT_FACTORS = np.geomspace(0.5, 8.0, 9)  # of the amount of least squares, which is too low at a wrong time
DEVIATIONS_COVERED = 6.0
"""The amounts reach at least so many standard deviations of their logarithm beyond that of least squares."""
LOG_INDISTINCT = np.log(3.0)  # a Bayes factor below 3 is "barely worth mentioning" (Jeffreys, 1961)
CREDIBLE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class SensorReadings:
    """Concentrations above the background, of all sensors together.

    Attributes
    ----------
    value : (n_observations,) concentration, or the limit of detection of a non-detect [g/m³]
    is_detected : (n_observations,) False for a non-detect; True wherever a value is given, above 0 or not
    noise : (n_observations,) standard deviation of the sensor, above 0 [g/m³]

    """

    value: Floats
    is_detected: NDArray[np.bool_]
    noise: Floats


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How the likelihood is computed.

    Attributes
    ----------
    relative_error : ρ, standard deviation of the model as a share of its prediction
    timing_error_steps : τ, standard deviation of the time at which the model has it, in steps
    weight : β, by which the log-likelihood of each observation counts
    duration_steps : durations that are tried, in steps
    n_kept : times and durations that are kept for each candidate and variant
    amount_median_g, amount_spread : median of the amount before anything is read [g], standard deviation of
        its logarithm: 0.4 kg to 7 t are 90 %
    error_scales : factors of ρ and τ, equally likely before anything is read; with more than one, amounts are
        tried as closely as the readings fix them

    """

    relative_error: float = 0.3
    timing_error_steps: float = 1.0
    weight: float = 0.7
    duration_steps: tuple[int, ...] = (1, 2, 4, 8)
    n_kept: int = 8
    amount_median_g: float = 50e3
    amount_spread: float = 3.0
    error_scales: tuple[float, ...] = (1.0,)

    def scaled(self, scale: float) -> InferenceOptions:
        """Return the options with the errors of the model multiplied by a scale."""
        return replace(
            self,
            relative_error=scale * self.relative_error,
            timing_error_steps=scale * self.timing_error_steps,
        )


WITH_VALUES = InferenceOptions(relative_error=0.15, timing_error_steps=0.5, weight=1.0)
"""For readings that have their values below the limit of detection, too (`docs/decisions/0097`)."""


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """What was kept of each candidate and variant, best of all amounts, (n_candidates, n) each.

    Attributes
    ----------
    log_likelihood : of the best amount
    log_evidence : logarithm of the likelihood, averaged over amounts with their prior
    log_by_amount : (n_candidates, n, n_amounts) logarithm of the likelihood and prior of each amount
    variant, first_step, n_release_steps : of the hypothesis
    rate_g_s : release rate of the best amount [g/s]
    rates_g_s : (n_candidates, n, n_amounts) of all amounts [g/s]
    predicted : (n_candidates, n, n_observations) concentration [g/m³]

    """

    log_likelihood: Floats
    log_evidence: Floats
    log_by_amount: Floats
    variant: NDArray[np.intp]
    first_step: NDArray[np.intp]
    n_release_steps: NDArray[np.intp]
    rate_g_s: Floats
    rates_g_s: Floats
    predicted: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SourcePosterior:
    """Posterior over candidates, and of time, amount and duration given each; (n_candidates,) each.

    Attributes
    ----------
    probability : sums to 1
    first_step : (n_candidates, 3) quantiles 5, 50, 95 % of the step of the first release
    amount_g : (n_candidates, 3) likewise of the amount [g]
    duration_s : (n_candidates, 3) likewise of the duration [s]
    group : number of the group of candidates that the observations do not distinguish; 0 is the likeliest
    best_fit : share of the observed variance (weighted by the noise) that the best hypothesis explains
    hypotheses : what the above was computed from

    """

    probability: Floats
    first_step: Floats
    amount_g: Floats
    duration_s: Floats
    group: NDArray[np.intp]
    best_fit: float
    hypotheses: Hypotheses

    def credible_set(self, share: float = CREDIBLE_SHARE) -> NDArray[np.intp]:
        """Return the likeliest candidates whose probability together is nearest to a share, likeliest first.

        One that exceeds the share by more than is missing without it is left out: sets that always reach
        the share have more of the probability than it in the mean, since candidates are whole.
        """
        order = np.argsort(-self.probability, kind="stable")
        together = np.cumsum(self.probability[order])
        needed = int(np.searchsorted(together, share - 1e-12)) + 1
        if 1 < needed <= len(together) and share - together[needed - 2] < together[needed - 1] - share:
            needed -= 1
        credible: NDArray[np.intp] = order[:needed]
        return credible


def infer_source(
    response: NDArray[np.float32],
    readings: SensorReadings,
    *,
    dt_s: float,
    prior: Floats | None = None,
    options: InferenceOptions | None = None,
) -> SourcePosterior:
    """Return the posterior over candidate sources of one release.

    Parameters
    ----------
    response : (n_variants, n_observations, n_candidates, n_steps) of `response_ensemble`
    readings : the observations, in the same order
    dt_s : length of a step [s]
    prior : (n_candidates,) weights of candidates, any scale; equal if None
    options : of the likelihood

    Raises
    ------
    TwinModelError
        If the sizes do not agree, or there is no observation.

    """
    options = options or InferenceOptions()
    n_observations, n_candidates = response.shape[1:3]
    if not n_observations or len(readings.value) != n_observations:
        raise TwinModelError(
            f"{len(readings.value)} readings "
            f"for {n_observations} rows of the response: give one each, at least one"
        )
    hypotheses = _best_hypotheses(response, readings, options, dt_s)
    log_prior = np.log(np.ones(n_candidates) if prior is None else prior)
    evidence = logsumexp(hypotheses.log_evidence, axis=1) + log_prior
    probability = np.exp(evidence - logsumexp(evidence))
    weights = np.exp(hypotheses.log_evidence - hypotheses.log_evidence.max(axis=1, keepdims=True))
    duration_s = hypotheses.n_release_steps.astype(np.float64) * dt_s
    return SourcePosterior(
        probability=probability,
        first_step=_quantiles(hypotheses.first_step.astype(float), weights),
        amount_g=_amount_quantiles(hypotheses, duration_s),
        duration_s=_quantiles(duration_s, weights),
        group=_groups(probability, hypotheses, readings, options),
        best_fit=_best_fit(hypotheses, readings),
        hypotheses=hypotheses,
    )


def _best_hypotheses(
    response: NDArray[np.float32], readings: SensorReadings, options: InferenceOptions, dt_s: float
) -> Hypotheses:
    parts = [
        _best_of_variant(number, one, readings, scaled, dt_s)
        for scaled in map(options.scaled, options.error_scales)
        for number, one in enumerate(response)
    ]
    return Hypotheses(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in Hypotheses.__dataclass_fields__
        )
    )


def _best_of_variant(
    number: int,
    response: NDArray[np.float32],
    readings: SensorReadings,
    options: InferenceOptions,
    dt_s: float,
) -> Hypotheses:
    """Return the best times and durations of each candidate under one variant."""
    n_observations, n_candidates, n_steps = response.shape
    observed = np.where(readings.is_detected, readings.value, 0.0)
    weight = 1 / (readings.noise**2 + (options.relative_error * observed) ** 2)
    weight32, weighted = weight.astype(np.float32), (weight * observed).astype(np.float32)
    durations = np.array(options.duration_steps, np.intp)
    total = np.zeros((n_observations, n_candidates, n_steps + durations.max() + 1), np.float32)
    np.cumsum(response, axis=2, out=total[:, :, 1 : n_steps + 1])
    total[:, :, n_steps + 1 :] = total[:, :, n_steps, None]  # releases end with the history
    scores, rates, squares_of = [], [], []
    for duration in durations:
        kernel = (total[:, :, duration : duration + n_steps] - total[:, :, :n_steps]).reshape(
            n_observations, -1
        )
        product = weighted @ kernel
        squares = weight32 @ np.square(kernel, out=kernel)
        rate = np.divide(product, squares, out=np.zeros_like(product), where=squares > 0)
        rate = np.maximum(rate, 0)
        scores.append((rate * product).reshape(n_candidates, n_steps))
        rates.append(rate.reshape(n_candidates, n_steps))
        squares_of.append(squares.reshape(n_candidates, n_steps))
    score, rate, squares = (np.concatenate(each, axis=1) for each in (scores, rates, squares_of))
    n_kept = min(options.n_kept, score.shape[1])
    kept = np.argpartition(-score, n_kept - 1, axis=1)[:, :n_kept]
    row = np.arange(n_candidates)[:, None]
    which, first_step = kept // n_steps, kept % n_steps

    def kernel_from(step: NDArray[np.intp]) -> NDArray[np.float32]:
        kernel: NDArray[np.float32] = total[:, row, step + durations[which]] - total[:, row, step]
        return np.ascontiguousarray(np.moveaxis(kernel, 0, -1))

    kernel_kept = kernel_from(first_step)
    before, after = np.maximum(first_step - 1, 0), np.minimum(first_step + 1, n_steps - 1)
    later_kept = 0.5 * (kernel_from(after) - kernel_from(before))
    factors, log_spacing = AMOUNT_FACTORS[:, None, None], np.zeros(())
    if len(options.error_scales) > 1:
        factors, log_spacing = _close_factors(rate[row, kept], squares[row, kept])
    amounts = (factors * rate[row, kept]).astype(np.float32)
    likelihood = np.stack(
        [
            log_likelihood(one[:, :, None] * kernel_kept, readings, options, one[:, :, None] * later_kept)
            for one in amounts
        ]
    )
    best = likelihood.argmax(axis=0)
    best_rate = np.take_along_axis(amounts, best[None], axis=0)[0]
    n_release_steps = durations[which]
    weighed = likelihood + _log_prior(amounts * (n_release_steps * dt_s), options) + log_spacing
    return Hypotheses(
        log_likelihood=likelihood.max(axis=0),
        log_evidence=logsumexp(weighed, axis=0),
        log_by_amount=np.moveaxis(weighed, 0, -1),
        variant=np.full(kept.shape, number, np.intp),
        first_step=first_step,
        n_release_steps=n_release_steps,
        rate_g_s=best_rate,
        rates_g_s=np.moveaxis(amounts, 0, -1),
        predicted=(best_rate[:, :, None] * kernel_kept).astype(np.float32),
    )


def _close_factors(rate: NDArray[np.floating], squares: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return factors of the rates of least squares, (n_amounts, …), and the logarithm of their spacing.

    They are `AMOUNT_FACTORS`, and nearer to 1 where the readings fix the amount more closely than these are
    apart: errors of different sizes are compared by the sums over amounts.

    Parameters
    ----------
    rate, squares : (…) of least squares, sum of the squares of weighted predictions of a rate of 1

    """
    deviation = 1 / np.maximum(np.sqrt(squares.astype(np.float64)) * rate, 1e-30)  # of the amount's logarithm
    share = np.minimum(1.0, DEVIATIONS_COVERED / np.log(AMOUNT_FACTORS[-1]) * deviation)
    factors: Floats = np.exp(np.log(AMOUNT_FACTORS)[:, None, None] * share)
    return factors, np.log(share)


def _log_prior(amount_g: NDArray[np.floating], options: InferenceOptions) -> Floats:
    """Return the logarithm of the prior density of the logarithm of amounts, but for a constant."""
    logs = np.log(np.maximum(amount_g, 1e-30) / options.amount_median_g)
    density: Floats = -0.5 * (logs / options.amount_spread) ** 2
    return density


def log_likelihood(
    predicted: NDArray[np.floating],
    readings: SensorReadings,
    options: InferenceOptions,
    later: NDArray[np.floating] | None = None,
) -> Floats:
    """Return the logarithm of the likelihood of predictions, (..., n_observations) to (...), weighted by β.

    In the precision of ``predicted``: single precision takes half of the time, and is enough.

    Parameters
    ----------
    predicted : (..., n_observations) concentration [g/m³]
    readings, options : of the likelihood
    later : how the prediction changes with a release one step later, like ``predicted``; 0 if None

    """
    dtype = predicted.dtype
    value, noise_2 = readings.value.astype(dtype), (readings.noise**2).astype(dtype)
    variance = noise_2 + dtype.type(options.relative_error**2) * predicted**2
    if later is not None:
        variance += dtype.type(options.timing_error_steps**2) * later**2
    gap = value - predicted
    detected, missed = readings.is_detected, ~readings.is_detected
    at_detects = gap[..., detected] ** 2 / variance[..., detected] + np.log(variance[..., detected])
    below = log_ndtr(gap[..., missed] / np.sqrt(variance[..., missed]))
    total = below.sum(axis=-1, dtype=np.float64) - 0.5 * at_detects.sum(axis=-1, dtype=np.float64)
    weighted: Floats = options.weight * total
    return weighted


def _amount_quantiles(hypotheses: Hypotheses, duration_s: Floats) -> Floats:
    """Return quantiles 5, 50, 95 % of the amount given each candidate, (n_candidates, 3) [g]."""
    amounts = hypotheses.rates_g_s * duration_s[:, :, None]
    logs = hypotheses.log_by_amount.reshape(len(amounts), -1)
    return _quantiles(amounts.reshape(len(amounts), -1), np.exp(logs - logs.max(axis=1, keepdims=True)))


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """Return weighted quantiles 5, 50, 95 % of each row, (n, 3)."""
    order = np.argsort(values, axis=1)
    cumulated = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    cumulated /= cumulated[:, -1:]
    at = [(cumulated < level).sum(axis=1) for level in (0.05, 0.5, 0.95)]
    index = np.minimum(np.stack(at, axis=1), values.shape[1] - 1)
    return np.take_along_axis(np.take_along_axis(values, order, axis=1), index, axis=1)


def _groups(
    probability: Floats, hypotheses: Hypotheses, readings: SensorReadings, options: InferenceOptions
) -> NDArray[np.intp]:
    """Return a group number for each candidate: those joined by predictions that the sensors can't separate.

    Two candidates are joined if some hypothesis of the one predicts what the best hypothesis of the other
    predicts, so closely that observations of the latter would favour it by a factor of less than 3.
    Candidates of less than 1 % of the probability of the first are groups of their own.
    """
    n = len(probability)
    order = np.argsort(-probability, kind="stable")
    likely = order[: max(int((probability > 0.01 * probability.max()).sum()), 1)]
    parent = np.arange(n)
    for position, one in enumerate(likely):
        best = hypotheses.predicted[one, hypotheses.log_likelihood[one].argmax()].astype(float)
        precision = options.weight / (readings.noise**2 + (options.relative_error * best) ** 2)
        for other in likely[:position]:
            gap = 0.5 * ((hypotheses.predicted[other] - best) ** 2 @ precision).min()
            if gap < LOG_INDISTINCT:
                parent[parent == parent[one]] = parent[other]
    first = np.full(n, n)
    np.minimum.at(first, parent, np.argsort(order))
    rank = np.unique(first[parent], return_inverse=True)[1]
    return rank.astype(np.intp)


def _best_fit(hypotheses: Hypotheses, readings: SensorReadings) -> float:
    best = np.unravel_index(hypotheses.log_likelihood.argmax(), hypotheses.log_likelihood.shape)
    observed = np.where(readings.is_detected, readings.value, 0.0)
    precision = 1 / readings.noise**2
    left = ((hypotheses.predicted[best] - observed) ** 2 * precision * readings.is_detected).sum()
    whole = (observed**2 * precision).sum()
    return float(max(0.0, 1 - left / whole)) if whole else 0.0
