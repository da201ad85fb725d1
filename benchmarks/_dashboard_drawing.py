"""Draws the panels of three dashboards with matplotlib; colours are always doubled by text or shape."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import shorten
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from matplotlib.patches import Rectangle

from dashboards.styling import CLASS_COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    Rows = Callable[..., list[dict[str, Any]]]

TIME = "time"
ZONE = ZoneInfo("Asia/Shanghai")
SEVERITY = {
    0: ("fine", "#73bf69", "o"),
    1: ("notice", "#5794f2", "s"),
    2: ("warning", "#ff9830", "^"),
    3: ("alarm", "#f2495c", "D"),
}
LEVELS = {
    1: ("smooth", "#00A651"),
    2: ("basically smooth", "#8CC63F"),
    3: ("light", "#FFF200"),
    4: ("medium", "#F7941D"),
    5: ("heavy", "#C1272D"),
}
ROMAN = ("", "Ⅰ", "Ⅱ", "Ⅲ", "Ⅳ", "Ⅴ", "worse than Ⅴ")
CURVES = ("without_changes", "chosen_scenario", "compared_scenario")
MAX_REASON_CHARS, MAX_STRETCH_CHARS = 72, 44


def town_overview(figure: Figure, rows: Rows) -> Figure:
    """Draw the town overview: counts, anomalies, map, water classes, congestion, worst series with band."""
    grid = figure.add_gridspec(4, 4, height_ratios=(0.5, 1.6, 1.5, 1.3))
    (anomaly_counts,) = rows("Open anomalies")
    silent, age = rows("Silent devices")[0]["silent"], rows("Newest reading")[0]["age"]
    numbers = [
        (f"◆ {anomaly_counts['alarm']}", "alarms open", SEVERITY[3][1]),
        (f"△ {anomaly_counts['warning']}", "warnings open", SEVERITY[2][1]),
        (str(silent), "silent devices", SEVERITY[2][1] if silent else SEVERITY[0][1]),
        (f"{float(age):.0f} s", "since the newest reading", SEVERITY[0][1]),
    ]
    for index, (number, text, colour) in enumerate(numbers):
        _draw_number(figure.add_subplot(grid[0, index]), number, text, colour)
    _draw_open_anomalies(figure.add_subplot(grid[1, :3]), rows("What is wrong now"))
    _draw_map(figure.add_subplot(grid[1, 3]), rows("Where"))
    _draw_classes(figure.add_subplot(grid[2, :2]), rows("Class of each river section"))
    _draw_links(figure.add_subplot(grid[2, 2:]), rows("Congestion of each link"))
    _draw_band(figure.add_subplot(grid[3, :]), rows("Worst series with its expected band"))
    return figure


def river_section(figure: Figure, rows: Rows) -> Figure:
    """Draw a river section: class and its items, series with band, flags, rain, upstream and downstream."""
    grid = figure.add_gridspec(4, 2, height_ratios=(1.1, 1.5, 1.1, 1.1))
    (found,) = rows("Class, target, items")
    colour = CLASS_COLOURS[found["class"] - 1]
    target_text = "kept" if found["met"] else "missed"
    text = f"target {ROMAN[found['target']]} {target_text}; {found['items']} items"
    _draw_number(figure.add_subplot(grid[0, 0]), f"class {ROMAN[found['class']]}", text, colour)
    items = [
        (one["quantity"], ROMAN[one["class"]], f"{one['mean']:.3g}", f"{one['exceeds'] or 0:.2f}")
        for one in rows("Items behind the class")
    ]
    _draw_table(
        figure.add_subplot(grid[0, 1]), "Items behind the class", ("item", "class", "mean", "beyond Ⅲ"), items
    )
    _draw_band(figure.add_subplot(grid[1, :]), rows("Worst series with its expected band"))
    _draw_flags(figure.add_subplot(grid[2, :]), rows("Flags"))
    _draw_lines(figure.add_subplot(grid[3, 0]), "Rain nearby [mm/h]", rows("Rain nearby"))
    _draw_lines(
        figure.add_subplot(grid[3, 1]), "Upstream ↑ and downstream ↓", rows("Upstream and downstream")
    )
    return figure


def network_state(figure: Figure, rows: Rows) -> Figure:
    """Draw the state of the networks: map of estimates, sources, arrivals, kept scenarios, curves."""
    grid = figure.add_gridspec(4, 2, height_ratios=(2.2, 0.8, 0.7, 1.5))
    _draw_state(figure.add_subplot(grid[0, :]), rows("Where"), rows("Where", 1))
    sources = [
        (one["incident"], one["source_place"], f"{one['probability']:.0%}", _time_text(one["released_from"]))
        for one in rows("Sources of open incidents")[:4]
    ]
    heads = ("incident", "source", "probability", "released from")
    _draw_table(figure.add_subplot(grid[1, 0]), "Sources of open incidents", heads, sources)
    arrivals = [
        (
            one["section_below"],
            _time_text(one["arrival"]),
            _time_text(one["arrival_from"]),
            _time_text(one["arrival_to"]),
        )
        for one in rows("Arrival downstream")[:4]
    ]
    heads = ("section below", "arrival", "earliest", "latest")
    _draw_table(figure.add_subplot(grid[1, 1]), "Arrival downstream", heads, arrivals)
    kept = [
        (
            one["scenario"],
            one["who"],
            _time_text(one["computed"]),
            shorten(one["changes"], 90, placeholder=" …"),
        )
        for one in rows("Kept scenarios")[:4]
    ]
    heads = ("scenario", "who", "computed", "changes")
    _draw_table(figure.add_subplot(grid[2, :]), "Kept scenarios", heads, kept)
    _draw_curves(figure.add_subplot(grid[3, 0]), rows("Curves of a scenario"))
    by_node = [
        (one["scenario_place"], *(_amount(one[name]) for name in CURVES))
        for one in rows("Places side by side")[:9]
    ]
    heads = ("place", "without the changes", "chosen", "second")
    _draw_table(figure.add_subplot(grid[3, 1]), "Places side by side [mg/L]", heads, by_node)
    return figure


def _time_text(at: datetime | None) -> str:
    return "–" if at is None else f"{at.astimezone(ZONE):%m-%d %H:%M}"


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _draw_state(axes: Any, nodes: list[dict[str, Any]], dots: list[dict[str, Any]]) -> None:
    axes.set_title("Where: dissolved oxygen [mg/L], estimate ± standard deviation", loc="left", fontsize=10)
    at = [one["longitude"] for one in dots], [one["latitude"] for one in dots]
    axes.scatter(*at, s=1, c="#5794f2")
    for is_measured, name, shape in ((1, "measured", "o"), (0, "estimated", "D")):
        some = [one for one in nodes if one["is_measured"] == is_measured]
        at = [one["longitude"] for one in some], [one["latitude"] for one in some]
        style = {"c": "#1f4e79" if is_measured else "none", "edgecolors": "#1f4e79", "marker": shape}
        axes.scatter(*at, s=34, label=f"{name} {len(some)}", zorder=3, **style)
    for one in nodes:
        position = (one["longitude"], one["latitude"])
        axes.annotate(one["label"], position, xytext=(4, 5), textcoords="offset points", fontsize=7)
    axes.legend(fontsize=7)
    axes.tick_params(labelsize=7)


def _draw_curves(axes: Any, rows: list[dict[str, Any]]) -> None:
    axes.set_title("Curves of a scenario", loc="left", fontsize=10)
    for name, style in zip(dict.fromkeys(one["curve"] for one in rows), ("-", "--", ":"), strict=False):
        curve = [one for one in rows if one["curve"] == name]
        axes.plot(
            [one["hours"] for one in curve], [one["scenario_value"] for one in curve], style, label=name
        )
    axes.set(xlabel="hours [h]", ylabel="added concentration [mg/L]", ylim=(0, None))
    axes.legend(fontsize=7)
    axes.grid(visible=True, alpha=0.3)
    axes.tick_params(labelsize=7)


def _draw_number(axes: Any, number: str, text: str, colour: str) -> None:
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, color=colour, alpha=0.35, transform=axes.transAxes))
    axes.text(0.5, 0.62, number, ha="center", va="center", fontsize=20, fontweight="bold")
    axes.text(0.5, 0.2, text, ha="center", va="center", fontsize=9)


def _draw_open_anomalies(axes: Any, rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            f"{one['since'].astimezone():%m-%d %H:%M}",
            SEVERITY[one["severity"]][0],
            one["location"].partition(" · ")[0],
            shorten(one["reason"], MAX_REASON_CHARS, placeholder=" …"),
        )
        for one in rows[:8]
    ]
    colours = [SEVERITY[one["severity"]][1] for one in rows[:8]]
    _draw_table(axes, "What is wrong now", ("since", "severity", "site", "reason"), cells, colours)


def _draw_map(axes: Any, rows: list[dict[str, Any]]) -> None:
    axes.set_title("Where", loc="left", fontsize=10)
    for severity, (severity_name, colour, shape) in SEVERITY.items():
        rows_of_severity = [one for one in rows if one["severity"] == severity]
        if rows_of_severity:
            at = [one["longitude"] for one in rows_of_severity], [one["latitude"] for one in rows_of_severity]
            marker_style = {"c": colour, "marker": shape, "s": 25 + 25 * severity, "edgecolors": "black"}
            axes.scatter(
                *at, label=f"{severity_name} {len(rows_of_severity)}", linewidths=0.4, **marker_style
            )
    axes.legend(fontsize=7)
    axes.tick_params(labelsize=7)


def _draw_classes(axes: Any, rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            one["location"].partition(" · ")[0],
            ROMAN[one["class"]],
            ROMAN[one["target"]],
            "✓" if one["met"] else "✗",
            one["items"],
        )
        for one in rows[:8]
    ]
    colours = [CLASS_COLOURS[one["class"] - 1] for one in rows[:8]]
    _draw_table(
        axes, "Class of each river section", ("section", "class", "target", "kept", "items"), cells, colours
    )


def _draw_links(axes: Any, rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            shorten(one["section"], MAX_STRETCH_CHARS, placeholder=" …"),
            LEVELS[one["level"]][0],
            f"{one['ratio']:.0%}",
            f"{one['kmh']:.0f} km/h",
        )
        for one in rows[:8]
    ]
    colours = [LEVELS[one["level"]][1] for one in rows[:8]]
    _draw_table(axes, "Congestion of each link", ("link", "level", "of free flow", "speed"), cells, colours)


def _draw_table(
    axes: Any, title: str, head: tuple[str, ...], cells: list[Any], colours: list[str] | None = None
) -> None:
    """Draw a table; the second column is coloured."""
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=10)
    if not cells:
        return
    made = axes.table(cellText=cells, colLabels=head, loc="upper left", cellLoc="left")
    made.auto_set_font_size(value=False)
    made.set_fontsize(7)
    made.auto_set_column_width(list(range(len(head))))
    for row, colour in enumerate(colours or [], start=1):
        made[row, 1].set_facecolor(colour)


def _draw_band(axes: Any, rows: list[dict[str, Any]]) -> None:
    series: dict[str, dict[datetime, float]] = {}
    for one in rows:
        series.setdefault(one["metric"], {})[_as_datetime(one["time"])] = float(one["value"])
    measured, expected, lower, upper, *flagged = series  # in the order of the query
    axes.set_title("Worst series with its expected band", loc="left", fontsize=10)
    axes.fill_between(
        list(series[lower]),
        list(series[lower].values()),
        list(series[upper].values()),
        color="#9ecae1",
        alpha=0.6,
        label="expected band",
    )
    axes.plot(*zip(*series[expected].items(), strict=True), "--", color="#5a7ea8", lw=1, label=expected)
    axes.plot(*zip(*series[measured].items(), strict=True), color="#1f4e79", lw=1.4, label=measured)
    for name in flagged:
        points = series[name]
        axes.plot(list(points), list(points.values()), "D", color="#f2495c", ms=5, ls="", label="flagged")
    axes.legend(fontsize=7, ncols=4, loc="upper left")
    _format_time_axis(axes)


def _draw_flags(axes: Any, rows: list[dict[str, Any]]) -> None:
    axes.set_title("Flags", loc="left", fontsize=10)
    names = sorted({one["metric"] for one in rows})
    for index, name in enumerate(names):
        metric_rows = [one for one in rows if one["metric"] == name]
        for flag, colour, mark in ((1, "#73bf69", "|"), (3, "#ff9830", "^")):
            at = [_as_datetime(one["time"]) for one in metric_rows if one["value"] == flag]
            axes.plot(at, [index] * len(at), mark, color=colour, ms=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    _format_time_axis(axes)


def _draw_lines(axes: Any, title: str, rows: list[dict[str, Any]]) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    for name in dict.fromkeys(one["metric"] for one in rows):
        metric_rows = [one for one in rows if one["metric"] == name]
        axes.plot(
            [_as_datetime(one["time"]) for one in metric_rows],
            [one["value"] for one in metric_rows],
            lw=1.2,
            label=name,
        )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6)
    _format_time_axis(axes)


def _format_time_axis(axes: Any) -> None:
    axes.set_xlabel(TIME)
    axes.margins(x=0.01)
    axes.grid(visible=True, alpha=0.3)
    axes.tick_params(labelsize=7)


def _as_datetime(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(float(value), UTC)
