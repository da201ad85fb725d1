"""Draws the map of a town with Matplotlib: courses, sections, marks and a scale, no background map."""

from __future__ import annotations

import math
from io import BytesIO
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.service.reports import plots
from analytics.service.reports.translations import translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from analytics.service.reports.translations import Language

    Floats = NDArray[np.float64]
    Position = tuple[float, float]

DEGREE_KM = 111.32  # of latitude
RIVER_COLOUR, MARK_COLOUR, OUTFALL_COLOUR = "#4a90c2", "#7a1fa2", "#6b4f2a"
LEVEL_WIDTHS = (1.6, 2.2, 3.0, 3.8, 4.6)  # [pt]: a level is not shown by its colour alone
CONGESTED = 3  # level from which a road is labelled
MIN_HEIGHT_IN, MAX_HEIGHT_IN = 3.4, 4.8
MARGIN = 0.08  # of the extent, on each side
MIN_EXTENT_KM = 0.5
NEAR_PT, FAR_PT = 8.0, 20.0  # distances at which a label is tried
AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
GAP_PX, STEP_PX = 2.0, 8.0


class MapLine(NamedTuple):
    """A river reach or a road link: its points [deg]; the level of a road, None without one."""

    name: str
    network: str
    course: Sequence[Position]
    level: int | None


class MapSection(NamedTuple):
    """A section of a river or lake with its class, None without one."""

    name: str
    lon: float
    lat: float
    class_: int | None


class MapMark(NamedTuple):
    """A place that the map is about, with its text."""

    text: str
    lon: float
    lat: float


class TownMap(NamedTuple):
    """What a map shows.

    Attributes
    ----------
    bounds : positions that have to be on it [deg], at least one
    marks : the most important one first
    marks_key : of the text in the legend that names them

    """

    bounds: Sequence[Position]
    lines: Sequence[MapLine]
    sections: Sequence[MapSection]
    outfalls: Sequence[Position]
    marks: Sequence[MapMark]
    marks_key: str


class _Label(NamedTuple):
    """A text beside a position [deg]."""

    text: str
    position: Position
    colour: str


def draw_map(drawn: TownMap, language: Language) -> bytes:
    """Return the map as PNG, north at the top, equal scale in both directions."""
    west, east, south, north = _extent(drawn.bounds)
    aspect = 1 / math.cos(math.radians((south + north) / 2))
    height = plots.WIDTH_IN * (north - south) * aspect / (east - west)
    figure, axes, font = plots.new_figure(min(max(height, MIN_HEIGHT_IN), MAX_HEIGHT_IN))
    axes.set_xticks([])
    axes.set_yticks([])
    _draw_lines(axes, drawn.lines, language)
    _draw_points(axes, drawn, language)
    figure.legend(loc="outside lower center", ncols=5, frameon=False, prop=font)
    figure.draw_without_rendering()  # lays out the axes: labels are placed by their size on the paper
    figure.set_layout_engine("none")
    _set_limits(axes, (west, east, south, north), aspect)
    courses = _points_of_courses(axes, drawn.lines)
    taken = [*_marks(axes, drawn), *_draw_scale(axes, aspect, courses, font, language)]
    _place_labels(axes, list(_labels(drawn, language)), taken, courses, font)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _extent(positions: Sequence[Position]) -> tuple[float, float, float, float]:
    """Return west, east, south and north of positions with a margin [deg]."""
    ends = list[float]()
    for values, degree_km in (
        ([lon for lon, _ in positions], DEGREE_KM * math.cos(math.radians(positions[0][1]))),
        ([lat for _, lat in positions], DEGREE_KM),
    ):
        middle = (min(values) + max(values)) / 2
        half = max((max(values) - min(values)) * (0.5 + MARGIN), MIN_EXTENT_KM / 2 / degree_km)
        ends += [middle - half, middle + half]
    west, east, south, north = ends
    return west, east, south, north


def _set_limits(axes: Any, extent: tuple[float, float, float, float], aspect: float) -> None:
    """Let the axes show at least an extent [deg], with the same scale in both directions."""
    west, east, south, north = extent
    frame = axes.get_window_extent()
    degree_px = min(frame.width / (east - west), frame.height / (north - south) / aspect)  # of longitude
    for set_limits, low, high, half in (
        (axes.set_xlim, west, east, frame.width / degree_px / 2),
        (axes.set_ylim, south, north, frame.height / degree_px / aspect / 2),
    ):
        set_limits((low + high) / 2 - half, (low + high) / 2 + half)


def _draw_lines(axes: Any, lines: Sequence[MapLine], language: Language) -> None:
    """Draw rivers, and above them roads, those of the worst level last."""
    drawn = set[str]()
    for line in sorted(lines, key=lambda one: (one.network == "road", one.level or 0)):
        key = "map_river" if line.network == "river" else f"level_{line.level}" if line.level else "map_road"
        style: dict[str, Any] = {"color": RIVER_COLOUR, "lw": 3.2, "alpha": 0.8}
        if line.network == "road":
            style = {"color": plots.MUTED_COLOUR, "lw": 1.2, "ls": (0, (4, 2))}
            if line.level:
                style = {
                    "color": plots.LEVEL_FILLS[line.level - 1],
                    "lw": LEVEL_WIDTHS[line.level - 1],
                    "path_effects": _outline(LEVEL_WIDTHS[line.level - 1]),
                }
        label = None if key in drawn else translate(key, language)
        drawn.add(key)
        axes.plot(*zip(*line.course, strict=True), label=label, solid_capstyle="round", **style)


def _outline(width: float) -> list[Any]:
    """Return the dark edge of a road, against which light colours are visible."""
    from matplotlib.patheffects import Normal, Stroke  # noqa: PLC0415 - an extra

    return [Stroke(linewidth=width + 1.0, foreground=plots.TEXT_COLOUR), Normal()]


def _draw_points(axes: Any, drawn: TownMap, language: Language) -> None:
    if drawn.outfalls:
        axes.plot(
            *zip(*drawn.outfalls, strict=True), "v", ms=5, color=OUTFALL_COLOUR,
            label=translate("map_outfall", language),
        )  # fmt: skip
    for class_ in sorted({one.class_ for one in drawn.sections}, key=lambda one: one or 9):
        fill = plots.CLASS_FILLS[class_ - 1] if class_ else "none"
        text = translate(f"class_{class_}" if class_ else "map_without_class", language)
        lons, lats = zip(*((one.lon, one.lat) for one in drawn.sections if one.class_ == class_), strict=True)
        axes.plot(lons, lats, "o", ms=8, mfc=fill, mec=plots.TEXT_COLOUR, mew=1.2, zorder=5, label=text)
    if drawn.marks:
        lons, lats = zip(*((one.lon, one.lat) for one in drawn.marks), strict=True)
        axes.plot(
            lons, lats, "X", ms=11, mfc=MARK_COLOUR, mec="white", mew=1.0, zorder=6,
            label=translate(drawn.marks_key, language),
        )  # fmt: skip


def _labels(drawn: TownMap, language: Language) -> Iterator[_Label]:
    """Yield the labels, the most important first."""
    for mark in drawn.marks:
        yield _Label(mark.text, (mark.lon, mark.lat), MARK_COLOUR)
    for section in sorted(drawn.sections, key=lambda one: -(one.class_ or 0)):
        grade = translate(f"class_{section.class_}" if section.class_ else "map_without_class", language)
        text = translate("map_label", language, name=section.name, grade=grade)
        yield _Label(text, (section.lon, section.lat), plots.TEXT_COLOUR)
    named = set[str]()
    for line in sorted(drawn.lines, key=lambda one: -(one.level or 0)):
        if line.network == "road" and (line.level or 0) >= CONGESTED:
            grade = translate(f"level_{line.level}", language)
            text = translate("map_label", language, name=line.name, grade=grade)
        else:
            text = line.name
        if line.name and line.name not in named:
            named.add(line.name)
            colour = plots.TEXT_COLOUR if text != line.name else plots.NOTE_COLOUR
            yield _Label(text, _middle(line.course), colour)


def _middle(course: Sequence[Position]) -> Position:
    """Return the position half-way between the two middle points of a course."""
    (west, south), (east, north) = course[(len(course) - 1) // 2], course[len(course) // 2]
    return (west + east) / 2, (south + north) / 2


def _marks(axes: Any, drawn: TownMap) -> list[Any]:
    """Return the boxes of all marks on the paper, which no label may cover [px]."""
    from matplotlib.transforms import Bbox  # noqa: PLC0415 - an extra

    half = 6.0 * plots.DPI / 72
    positions = [*drawn.outfalls, *((one.lon, one.lat) for one in drawn.sections)]
    positions += [(one.lon, one.lat) for one in drawn.marks]
    return [
        Bbox([[x - half, y - half], [x + half, y + half]])
        for x, y in (axes.transData.transform(one) for one in positions)
    ]


def _points_of_courses(axes: Any, lines: Sequence[MapLine]) -> Floats:
    """Return points along all lines on the paper, close together, (n, 2) [px]."""
    found = [np.empty((0, 2))]
    for line in lines:
        ends = axes.transData.transform(line.course)
        for begin, end in pairwise(ends):
            n_points = int(np.hypot(*(end - begin)) // STEP_PX) + 2
            found.append(np.linspace(begin, end, n_points))
    return np.concatenate(found)


def _covered(box: Any, points: Floats) -> int:
    """Return how many points lie in a box."""
    inside = (points >= [box.x0, box.y0]) & (points <= [box.x1, box.y1])
    return int(inside.all(axis=1).sum())


def _place_labels(
    axes: Any, labels: Sequence[_Label], taken: list[Any], courses: Floats, font: Any
) -> list[Any]:
    """Write each label where it covers least of the courses, and no other label or mark; return all boxes.

    A label without a free place is left out.
    """
    from matplotlib.patheffects import withStroke  # noqa: PLC0415 - an extra

    frame, taken = axes.get_window_extent(), [*taken]
    halo = [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
    for label in labels:
        found: list[tuple[int, int, Any, Any]] = []
        for distance, (x, y) in product((NEAR_PT, FAR_PT), AROUND):
            text = axes.annotate(
                label.text, label.position, xytext=(x * distance, y * distance), textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[x], va={1: "bottom", 0: "center", -1: "top"}[y],
                fontproperties=font, color=label.colour, path_effects=halo, zorder=8,
            )  # fmt: skip
            box = text.get_window_extent().padded(GAP_PX)
            is_inside = (
                frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            )
            text.remove()
            if is_inside and not any(box.overlaps(one) for one in taken):
                found.append((_covered(box, courses), len(found), text, box))
                if not found[-1][0]:
                    break
        if found:
            _, _, text, box = min(found, key=lambda one: one[:2])
            axes.add_artist(text)
            taken.append(box)
    return taken


def _draw_scale(axes: Any, aspect: float, courses: Floats, font: Any, language: Language) -> Iterator[Any]:
    """Draw a bar of a round length and an arrow to the north; yield their boxes on the paper [px].

    The bar is in the corner at the foot, or at the top left, in which it covers least of the courses.
    """
    from matplotlib.transforms import Bbox  # noqa: PLC0415 - an extra

    frame = axes.get_window_extent()
    (west, east), km = axes.get_xlim(), DEGREE_KM / aspect
    length_km = round_length((east - west) * km / 4)
    text = f"{length_km:g} km" if length_km >= 1 else f"{1000 * length_km:g} m"
    width, height, edge = frame.width * length_km / km / (east - west), 45.0, 25.0  # [px]
    corners = [
        Bbox.from_bounds(x, y, width, height)
        for x, y in (
            (frame.x0 + edge, frame.y0 + edge),
            (frame.x1 - edge - width, frame.y0 + edge),
            (frame.x0 + edge, frame.y1 - edge - height),
        )
    ]
    box = min(corners, key=lambda one: _covered(one, courses))
    (left, bottom), (right, _) = axes.transData.inverted().transform([box.p0, box.p1])
    axes.plot([left, right], [bottom] * 2, color=plots.TEXT_COLOUR, lw=3, solid_capstyle="butt", zorder=9)
    axes.annotate(
        text, ((left + right) / 2, bottom), xytext=(0, 4), textcoords="offset points", ha="center",
        va="bottom", fontproperties=font, zorder=9,
    )  # fmt: skip
    arrow = axes.annotate(
        translate("map_north", language), (0.97, 0.97), xytext=(0.97, 0.87), xycoords="axes fraction",
        ha="center", va="top", fontproperties=font, zorder=9,
        arrowprops={"arrowstyle": "-|>", "color": plots.TEXT_COLOUR},
    )  # fmt: skip
    yield arrow.get_window_extent()
    yield box


def round_length(longest: float) -> float:
    """Return the longest length of 1, 2 or 5 times a power of ten that is at most ``longest``.

    >>> [round_length(one) for one in (0.99, 1.0, 3.7, 74.0)]
    [0.5, 1.0, 2.0, 50.0]
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
