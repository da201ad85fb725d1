"""Projects longitudes and latitudes to points of an SVG, north up, in true proportion."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class MapProjection(NamedTuple):
    """Longitudes and latitudes to points; a degree of longitude is shorter by the aspect."""

    west: float
    north: float
    scale: float
    aspect: float

    def point(self, lon: float, lat: float) -> tuple[float, float]:
        """Return x and y of a position."""
        x, y = (lon - self.west) * self.aspect * self.scale, (self.north - lat) * self.scale
        return round(x, 1), round(y, 1)

    def points(self, coordinates: Sequence[Sequence[float]]) -> str:
        """Return the points of a line, as SVG has them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.point(lon, lat) for lon, lat, *_ in coordinates))


def fit_projection(
    coordinates: Sequence[Sequence[float]], *, width: float, height: float, margin: float
) -> MapProjection:
    """Return the projection that has all positions in the middle of a picture.

    Parameters
    ----------
    coordinates : longitude and latitude of one position at least [deg]
    width, height : of the picture
    margin : on each side, free of positions

    """
    lon, lat = np.array([one[:2] for one in coordinates], np.float64).T
    aspect = float(np.cos(np.deg2rad(lat.mean())))
    extent = max(np.ptp(lon) * aspect / (width - 2 * margin), np.ptp(lat) / (height - 2 * margin), 1e-8)
    return MapProjection(
        west=float((lon.min() + lon.max()) / 2 - extent * width / 2 / aspect),
        north=float((lat.min() + lat.max()) / 2 + extent * height / 2),
        scale=1 / float(extent),
        aspect=aspect,
    )
