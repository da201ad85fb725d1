// Shows the reading under the pointer of a plot; the plot itself is drawn by the server.
"use strict";

function nearestPoint(points, timeMs) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < timeMs) low = middle; else high = middle;
  }
  return timeMs - points[low][0] < points[high][0] - timeMs ? points[low] : points[high];
}

document.addEventListener("pointermove", event => {
  const chart = event.target.closest?.(".chart");
  if (!chart) return;
  const svg = chart.querySelector(".plot-svg");
  const box = svg.getBoundingClientRect();
  const first = Number(chart.dataset.first) * 1000, last = Number(chart.dataset.last) * 1000;
  chart.points ??= JSON.parse(chart.dataset.points);
  const [timeMs, value, expected] = nearestPoint(
    chart.points, first + (event.clientX - box.left) / box.width * (last - first));
  const cursor = svg.querySelector(".cursor");
  const x = `${(timeMs - first) / (last - first) * 100}%`;
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
  cursor.setAttribute("visibility", "visible");
  const time = new Date(timeMs).toLocaleString("sv-SE", {timeZone: document.documentElement.dataset.zone});
  const number = one => Number(one.toPrecision(4)).toString();
  chart.querySelector(".pointed").textContent = `${time} · ${chart.dataset.value} ${number(value)}`
    + (expected === null ? "" : ` · ${chart.dataset.expected} ${number(expected)}`);
});
