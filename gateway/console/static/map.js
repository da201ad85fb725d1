// Draws the town's rivers, roads and sites with MapLibre, and their states, which are pushed.
"use strict";

const STATUSES = ["ok", "unknown", "warming", "suspect", "silent", "anomaly"]; // drawn in this order
const SIZES = {ok: 11, unknown: 9, warming: 13, suspect: 16, silent: 15, anomaly: 24};
let element = null; // of the page's map; a swapped page has another one
const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function showNoMap() {
  element.hidden = true;
  document.getElementById("no-map").hidden = false;
}

// The shapes of the legend, drawn on a canvas for the map.
function statusImage(status, pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = pixels;
  const draw = canvas.getContext("2d");
  draw.translate(pixels / 2, pixels / 2);
  draw.scale(pixels / 18, pixels / 18);
  const shapes = {
    ok: () => draw.arc(0, 0, 6, 0, 7),
    unknown: () => draw.arc(0, 0, 5, 0, 7),
    warming: () => polygon(draw, [[0, -7], [6, 6], [0, 2], [-6, 6]]),
    suspect: () => polygon(draw, [[0, -7], [7, 6], [-7, 6]]),
    silent: () => polygon(draw, [[-6, -6], [6, -6], [6, 6], [-6, 6]]),
    anomaly: () => polygon(draw, [[0, -8], [8, 0], [0, 8], [-8, 0]]),
  };
  draw.beginPath();
  shapes[status]();
  draw.lineWidth = 1.6;
  draw.strokeStyle = status === "unknown" ? colour("unknown") : colour("map-halo");
  draw.fillStyle = status === "unknown" ? colour("map") : colour(status);
  draw.fill();
  draw.stroke();
  return draw.getImageData(0, 0, pixels, pixels);
}

function polygon(draw, corners) {
  corners.forEach(([x, y], at) => at ? draw.lineTo(x, y) : draw.moveTo(x, y));
  draw.closePath();
}

function baseLayers() {
  const layers = [{id: "background", type: "background", paint: {"background-color": colour("map")}}];
  if (element.dataset.tiles) layers.push({id: "tiles", type: "raster", source: "tiles"});
  return layers;
}

function baseSources() {
  if (!element.dataset.tiles) return {};
  const tiles = [element.dataset.tiles];
  return {tiles: {type: "raster", tiles, tileSize: 256, attribution: element.dataset.attribution}};
}

// A PMTiles file has images, or vectors in the layers of the Protomaps base map.
async function addPmtiles(map) {
  const protocol = new pmtiles.Protocol();
  maplibregl.addProtocol("pmtiles", protocol.tile);
  const archive = new pmtiles.PMTiles(new URL(element.dataset.pmtiles, location.href).href);
  protocol.add(archive);
  const {tileType} = await archive.getHeader();
  const url = `pmtiles://${new URL(element.dataset.pmtiles, location.href).href}`;
  const attribution = element.dataset.attribution;
  if (tileType !== pmtiles.TileType.Mvt) {
    map.addSource("base", {type: "raster", url, tileSize: 256, attribution});
    map.addLayer({id: "base", type: "raster", source: "base"}, "links");
    return;
  }
  map.addSource("base", {type: "vector", url, attribution});
  const line = (id, layer, paint) =>
    map.addLayer({id, type: "line", source: "base", "source-layer": layer, paint}, "links");
  const fill = (id, layer, paint) =>
    map.addLayer({id, type: "fill", source: "base", "source-layer": layer, paint}, "links");
  fill("base-landuse", "landuse", {"fill-color": colour("map-land"), "fill-opacity": 0.5});
  fill("base-water", "water", {"fill-color": colour("map-water")});
  fill("base-buildings", "buildings", {"fill-color": colour("map-land")});
  line("base-roads", "roads", {"line-color": colour("map-road"), "line-width": 1});
  line("base-boundaries", "boundaries", {"line-color": colour("muted"), "line-dasharray": [2, 2]});
}

function currentStates() {
  return JSON.parse(document.getElementById("map-states").textContent);
}

function withStates(features, states) {
  for (const {properties} of features.features) {
    const isLink = properties.kind === "link";
    properties.status = isLink
      ? states.links[properties.id] ?? "ok"
      : states.nodes[properties.id] ?? "unknown";
    if (!isLink) properties.order = STATUSES.indexOf(properties.status);
  }
  return features;
}

function addNetwork(map, features) {
  map.addSource("network", {type: "geojson", data: features});
  const isLink = ["==", ["get", "kind"], "link"];
  const lineColour = ["match", ["get", "status"], "anomaly", colour("anomaly"), "congested", colour("suspect"),
    ["match", ["get", "network"], "road", colour("road"), colour("river")]];
  map.addLayer({
    id: "links", type: "line", source: "network", filter: isLink,
    layout: {"line-cap": "round", "line-join": "round"},
    paint: {
      "line-color": lineColour,
      "line-width": ["match", ["get", "network"], "road", 2.5, 4.5],
      "line-opacity": 0.85,
    },
  });
  for (const status of STATUSES)
    map.addImage(status, statusImage(status, SIZES[status] * 2), {pixelRatio: 2});
  map.addLayer({
    id: "nodes", type: "symbol", source: "network", filter: ["!", isLink],
    layout: {
      "icon-image": ["get", "status"], "icon-allow-overlap": true, "icon-ignore-placement": true,
      "symbol-sort-key": ["get", "order"],
    },
  });
}

// Incidents, and sites that need attention, have a label, which is a link: it can be reached by keyboard.
function showLabels(map, features, shown) {
  const focused = document.activeElement?.closest("a.map-label")?.getAttribute("href");
  for (const marker of shown.splice(0)) marker.remove();
  if (element.dataset.cells) return; // they would cover the names of the cells
  const sites = features.features.filter(({properties}) => properties.kind === "node" && properties.site);
  const places = new Map(sites.map(({geometry, properties}) => [properties.site, geometry.coordinates]));
  const labelled = new Set();
  const add = (site, text, href, look) => {
    if (labelled.has(site) || labelled.size >= 40 || !places.has(site)) return;
    labelled.add(site);
    const link = document.createElement("a");
    link.className = `map-label ${look}`;
    link.href = href;
    link.textContent = text;
    shown.push(new maplibregl.Marker({element: link}).setLngLat(places.get(site)).addTo(map));
    link.removeAttribute("aria-label"); // MapLibre's: the text of the link names it
    link.removeAttribute("role");
  };
  for (const {id, site, title, mark, priority} of currentStates().incidents)
    add(site, `${mark} ${title}`, `/console/incidents/${id}`, `priority-${priority}`);
  for (const {properties: {site, name, status}} of sites)
    if (status === "anomaly" || status === "silent")
      add(site, name, `/console/sites/${encodeURIComponent(site)}`, status);
  arrangeLabels(map, shown);
  const again = focused && shown.find(marker => marker.getElement().getAttribute("href") === focused);
  if (again) again.getElement().focus({preventScroll: true});
}

// Put each label beside its place where it covers no label before it; the most urgent come first.
function arrangeLabels(map, shown) {
  const box = map.getContainer().getBoundingClientRect();
  const taken = [...map.getContainer().querySelectorAll(".map-label.source, .maplibregl-ctrl-group")].map(one => {
    const {left, right, top, bottom} = one.getBoundingClientRect();
    return {left: left - box.left, right: right - box.left, top: top - box.top, bottom: bottom - box.top};
  });
  for (const marker of shown) {
    const label = marker.getElement(), {x, y} = map.project(marker.getLngLat());
    const width = label.offsetWidth, height = label.offsetHeight;
    const beside = 14 + width / 2, above = 12 + height / 2;
    const sides = [[beside, 0], [-beside, 0], [0, -above], [0, above], [beside, -above], [-beside, above]];
    const areaAt = ([dx, dy]) => ({left: x + dx - width / 2, right: x + dx + width / 2,
      top: y + dy - height / 2, bottom: y + dy + height / 2});
    const isFree = area => area.left >= 0 && area.right <= box.width && area.top >= 0 && area.bottom <= box.height &&
      !taken.some(one => area.left < one.right && one.left < area.right && area.top < one.bottom && one.top < area.bottom);
    const side = sides.find(one => isFree(areaAt(one)));
    label.classList.toggle("crowded", side === undefined);
    marker.setOffset(side ?? sides[0]);
    if (side) taken.push(areaAt(side));
  }
}

// Grid cells below the network, and the cell that is being edited.
function addCells(map, cells) {
  const geometry = document.getElementById("geometry");
  map.addSource("cells", {type: "geojson", data: cells});
  map.addLayer({id: "cells", type: "fill", source: "cells",
    paint: {"fill-color": colour("accent"), "fill-opacity": 0.12}}, "links");
  map.addLayer({id: "cell-borders", type: "line", source: "cells",
    paint: {"line-color": colour("accent"), "line-width": 1.5}}, "links");
  if (!geometry) {
    for (const {properties, geometry: {type, coordinates}} of cells.features) {
      const ring = type === "Polygon" ? coordinates[0] : coordinates[0][0];
      const name = document.createElement("span");
      name.className = "cell-label";
      name.textContent = properties.name;
      const middle = at => ring.slice(1).reduce((sum, one) => sum + one[at], 0) / (ring.length - 1);
      new maplibregl.Marker({element: name}).setLngLat([middle(0), middle(1)]).addTo(map);
      name.removeAttribute("aria-label"); // MapLibre's: the text names it
      name.removeAttribute("role");
    }
    return;
  }
  map.addSource("edited", {type: "geojson", data: editedFeature(geometry)});
  map.addLayer({id: "edited", type: "fill", source: "edited", filter: ["==", ["geometry-type"], "Polygon"],
    paint: {"fill-color": colour("suspect"), "fill-opacity": 0.25}});
  map.addLayer({id: "edited-border", type: "line", source: "edited",
    paint: {"line-color": colour("suspect"), "line-width": 2.5}});
  geometry.addEventListener("input", () => map.getSource("edited").setData(editedFeature(geometry)));
  drawByClicks(map, geometry, document.getElementById("draw"));
}

function editedFeature(geometry) {
  try {
    const read = JSON.parse(geometry.value);
    if (["Polygon", "MultiPolygon"].includes(read.type)) return read;
    if (["Polygon", "MultiPolygon"].includes(read.geometry?.type)) return read.geometry;
  } catch { /* not finished */ }
  return {type: "FeatureCollection", features: []};
}

// While drawing, each click is a corner; the polygon is written into the form's field.
function drawByClicks(map, geometry, button) {
  let corners = null;
  const begin = button.textContent;
  button.addEventListener("click", () => {
    corners = corners === null ? [] : null;
    const isDrawing = corners !== null;
    button.textContent = isDrawing ? button.dataset.drawing : begin;
    button.setAttribute("aria-pressed", isDrawing);
    map.getCanvas().style.cursor = isDrawing ? "crosshair" : "";
    if (isDrawing) map.doubleClickZoom.disable(); else map.doubleClickZoom.enable();
  });
  map.on("click", event => {
    if (corners === null) return;
    corners.push([event.lngLat.lng, event.lngLat.lat].map(one => Number(one.toFixed(5))));
    const line = {type: "LineString", coordinates: corners.length > 1 ? corners : [corners[0], corners[0]]};
    if (corners.length < 3) { map.getSource("edited").setData(line); return; }
    geometry.value = JSON.stringify({type: "Polygon", coordinates: [[...corners, corners[0]]]});
    geometry.dispatchEvent(new Event("input"));
  });
}

// The box of the edited cell, or of all cells; null without any.
function cellBounds(cells) {
  const geometry = document.getElementById("geometry");
  const edited = geometry ? editedFeature(geometry) : null;
  const shapes = edited?.coordinates ? [edited] : (cells?.features ?? []).map(one => one.geometry);
  const points = shapes.flatMap(({coordinates}) => coordinates.flat(Infinity));
  if (!points.length) return null;
  const lons = points.filter((_, at) => at % 2 === 0), lats = points.filter((_, at) => at % 2 === 1);
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}

// The likely sources of an incident, with their probability.
function addSources(map) {
  for (const {lon, lat, text} of JSON.parse(element.dataset.sources ?? "[]")) {
    const label = document.createElement("span");
    label.className = "map-label source";
    label.textContent = text;
    new maplibregl.Marker({element: label, anchor: "bottom", offset: [0, -10]}).setLngLat([lon, lat]).addTo(map);
    label.removeAttribute("aria-label"); // MapLibre's: the text names it
    label.removeAttribute("role");
  }
}

// The links by which an incident may have come, below the sites.
function addTrace(map) {
  const traced = JSON.parse(element.dataset.traced ?? "[]");
  if (!traced.length) return;
  map.addLayer({
    id: "trace", type: "line", source: "network", filter: ["in", ["get", "id"], ["literal", traced]],
    layout: {"line-cap": "round"},
    paint: {"line-color": colour("suspect"), "line-width": 9, "line-opacity": 0.55},
  }, "links");
}

// The box of an incident's sites, its trace and its likely sources, with some room around it; else of the whole network.
function shownBounds(features) {
  const sites = JSON.parse(element.dataset.focus ?? "[]"), traced = JSON.parse(element.dataset.traced ?? "[]");
  const shown = features.features.filter(({properties}) =>
    (properties.site && sites.includes(properties.site)) || traced.includes(properties.id));
  const sources = JSON.parse(element.dataset.sources ?? "[]").map(({lon, lat}) => [lon, lat]);
  const points = [...sources, ...shown.flatMap(({geometry}) =>
    geometry.type === "Point" ? [geometry.coordinates] : geometry.coordinates)];
  if (!points.length) return features.bbox;
  const lons = points.map(one => one[0]), lats = points.map(one => one[1]), margin = 0.02;
  return [Math.min(...lons) - margin, Math.min(...lats) - margin,
    Math.max(...lons) + margin, Math.max(...lats) + margin];
}

async function drawMap() {
  const container = element;
  maplibregl.setWorkerUrl(element.dataset.worker);
  const cells = element.dataset.cells ? await (await fetch(element.dataset.cells)).json() : null;
  const answer = await fetch(element.dataset.features);
  if (!answer.ok) { showNoMap(); return; }
  const features = withStates(await answer.json(), currentStates());
  let map;
  try {
    map = new maplibregl.Map({
      container, bounds: cellBounds(cells) ?? shownBounds(features), fitBoundsOptions: {padding: 36}, dragRotate: false,
      pitchWithRotate: false, attributionControl: element.dataset.attribution ? {compact: true} : false,
      fadeDuration: 0, locale: JSON.parse(container.dataset.locale), style: {version: 8, sources: baseSources(), layers: baseLayers()},
    });
  } catch { showNoMap(); return; }
  map.touchZoomRotate.disableRotation();
  map.addControl(new maplibregl.NavigationControl({showCompass: false}), "top-right");
  const labels = [];
  map.on("load", () => {
    addNetwork(map, features);
    if (cells) addCells(map, cells);
    addTrace(map);
    addSources(map);
    if (element.dataset.pmtiles) addPmtiles(map);
    showLabels(map, features, labels);
    container.dataset.drawn = "yes";
  });
  document.addEventListener("towntwin:part", event => {
    if (event.detail !== "map-states" || !container.isConnected || !map.getSource("network")) return;
    map.getSource("network").setData(withStates(features, currentStates()));
    showLabels(map, features, labels);
  });
  map.on("moveend", () => arrangeLabels(map, labels));
  pointAtSites(map);
  container.map = map;
  container.features = features;
}

function pointAtSites(map) {
  const popup = new maplibregl.Popup({closeButton: false, closeOnClick: false, offset: 12});
  for (const layer of ["links", "nodes"]) {
    map.on("mousemove", layer, event => {
      const {properties} = event.features[0];
      map.getCanvas().style.cursor = properties.site ? "pointer" : "";
      popup.setLngLat(event.lngLat).setText(properties.name).addTo(map); // text: markup in a name does not run
    });
    map.on("mouseleave", layer, () => { map.getCanvas().style.cursor = ""; popup.remove(); });
  }
  map.on("click", "nodes", event => {
    const site = event.features.find(one => one.properties.site)?.properties.site;
    if (site && document.getElementById("draw")?.ariaPressed !== "true") location.assign(`/console/sites/${encodeURIComponent(site)}`);
  });
}

function drawNewMap() {
  const found = document.getElementById("map");
  if (!found || found === element) return;
  element?.map?.remove();
  element = found;
  if (window.maplibregl) drawMap(); else showNoMap();
}

dark.addEventListener("change", () => location.reload()); // colours are read when the map is made
document.addEventListener("htmx:afterSwap", drawNewMap);
drawNewMap();
