"""Fits the weights of forecasts of all series at once: ridge regression, squared or absolute loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import Loss

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

SMALLEST_RESIDUAL = 0.05  # smaller ones are squared in the absolute loss [standard deviations of the series]
PASSES = 2  # of reweighting; a third changed METR-LA's validation error by less than 0.01 mi/h


def fit_weights(
    design: Singles, targets: Singles, is_valid: NDArray[np.bool_], penalties: tuple[float, ...], loss: Loss
) -> Floats:
    """Return the weights for each penalty, (n, n_features, n_targets, n_penalties) float64.

    Parameters
    ----------
    design : (n, n_rows, n_features)
    targets : (n, n_rows, n_targets), finite where valid
    is_valid : (n, n_rows) rows that count
    penalties : of the squared weights of features of unit mean square, per row
    loss : "absolute" reweights rows by 1 / residual of the middle penalty, so that all penalties share a
        matrix of normal equations

    """
    rows = np.where(is_valid, 1, 0).astype(np.float32)
    count = np.maximum(rows.sum(axis=1), 1)[:, None]
    size = np.sqrt(np.einsum("nrf,nrf,nr->nf", design, design, rows, optimize=True) / count)
    size[size < 1e-6] = 1
    scaled = design / size[:, None].astype(np.float32)
    targets = np.where(is_valid[..., None], targets, 0).astype(np.float32)
    weights = _solve(scaled, targets, rows, penalties)
    if loss == "absolute":
        middle = len(penalties) // 2
        for target in range(targets.shape[2]):
            one = targets[..., target : target + 1]
            for _ in range(PASSES):
                current = weights[:, :, target, middle, None].astype(np.float32)
                residual = np.abs(one - scaled @ current)[..., 0]
                reweighted = rows / np.maximum(residual, np.float32(SMALLEST_RESIDUAL))
                weights[:, :, target] = _solve(scaled, one, reweighted, penalties)[:, :, 0]
    unscaled: Floats = weights / size[:, :, None, None]
    return unscaled


def _solve(scaled: Singles, targets: Singles, rows: Singles, penalties: tuple[float, ...]) -> Floats:
    """Solve the normal equations, rows weighted; return (n, n_features, n_targets, n_penalties)."""
    weighted = (scaled * rows[..., None]).swapaxes(1, 2)
    total = np.maximum(rows.sum(axis=1), 1e-9)[:, None, None]
    matrix = (weighted @ scaled).astype(np.float64) / total
    right = (weighted @ targets).astype(np.float64) / total
    diagonal = np.array(penalties)[:, None, None, None] * np.eye(matrix.shape[1])
    solved: Floats = np.moveaxis(
        np.linalg.solve(matrix + diagonal, np.broadcast_to(right, (len(penalties), *right.shape))), 0, -1
    )
    return solved
