"""Tests the distances of a site's quantities: chunked or at once, detection by each, invalid input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from analytics.core.site_distances import MEDIAN_READINGS, DistanceState, SiteReference, distances

TICKS, SITES, QUANTITIES = 600, 3, 4


def good(seed: int = 1) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Noise in which the first two quantities go together; the last site has one quantity less."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 1, (TICKS, SITES, QUANTITIES))
    values[:, :, 1] = values[:, :, 0] + 0.1 * values[:, :, 1]
    values[random.random(values.shape) < 0.02] = np.nan
    values[:, 2, 3] = np.nan
    return values


def test_in_pieces_as_whole() -> None:
    reference, values = SiteReference.fit(good()), good(2)
    whole = distances(DistanceState.empty(reference.centre), reference, values)
    state = DistanceState.empty(reference.centre)
    cuts = [0, 1, 7, 8, 300, TICKS]
    parts = [distances(state, reference, values[a:b]) for a, b in pairwise(cuts)]
    for name in whole._fields:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=1e-12, err_msg=name)


def test_each_distance_finds_what_it_is_for() -> None:
    reference, values = SiteReference.fit(good()), good(3)
    calm = distances(DistanceState.empty(reference.centre), reference, values)
    assert calm.off.mean() < 0.05
    slug, lasting, odd = values.copy(), values.copy(), values.copy()
    slug[400:410, 0] += 4
    lasting[200:, 0, 2] += 9
    odd[400:440, 0, 0] += 1.5
    odd[400:440, 0, 1] -= 1.5
    found = distances(DistanceState.empty(reference.centre), reference, slug)
    assert found.deviation[400:410, 0].min() > calm.deviation[:, 0].mean() * 2
    assert found.shares[405, 0].min() > 1, "every quantity has its share"
    found = distances(DistanceState.empty(reference.centre), reference, lasting)
    assert found.off[-50:, 0].mean() > 0.9, "it is not forgotten"
    found = distances(DistanceState.empty(reference.centre), reference, odd)
    assert found.mahalanobis[420, 0] > reference.limits[1, 0]
    assert not found.off[:, 1].any() or found.off[:, 1].mean() == calm.off[:, 1].mean()


def test_whatever_comes_no_exception_and_no_nan() -> None:
    reference = SiteReference.fit(good())
    for values in (np.full((30, SITES, QUANTITIES), np.nan), np.full((30, SITES, QUANTITIES), 1e150)):
        found = distances(DistanceState.empty(reference.centre), reference, values)
        assert np.isfinite(found.deviation).all()
        assert np.isfinite(found.mahalanobis).all()
    with pytest.raises(ValueError, match=f"takes {MEDIAN_READINGS} readings or more, not 3"):
        SiteReference.fit(good()[:3])
