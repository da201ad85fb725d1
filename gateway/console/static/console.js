// Keeps a page up to date: pushed parts, ages, the clock, the connection; shows failed requests.
"use strict";

const LOST_AFTER_MS = 10_000; // without any event; the server sends its clock every 4 s
const DAY_S = 86_400, HOUR_S = 3600, MINUTE_S = 60;
const root = document.documentElement;
const units = JSON.parse(document.body.dataset.units);
// The server's clock decides ages: that of this computer may be wrong.
let clockAheadMs = Number(root.dataset.now) * 1000 - Date.now();
let lastEventMs = Date.now();
let stream = null;

function nowS() {
  return (Date.now() + clockAheadMs) / 1000;
}

// As `Visitor.duration`.
function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const text = (key, number) => units[key].replace("{}", number);
  if (whole >= 2 * DAY_S) return text("days", Math.floor(whole / DAY_S));
  if (whole >= 2 * HOUR_S) return text("hours", Math.floor(whole / HOUR_S));
  if (whole >= MINUTE_S) return text("minutes", Math.floor(whole / MINUTE_S));
  return text("seconds", whole);
}

function showAges() {
  for (const one of document.querySelectorAll("time.age")) {
    const text = duration(nowS() - Number(one.dataset.at));
    if (one.textContent !== text) one.textContent = text;
  }
  const clock = document.getElementById("clock");
  const now = new Date(nowS() * 1000);
  clock.dateTime = now.toISOString();
  clock.textContent = now.toLocaleTimeString("en-GB", {timeZone: root.dataset.zone});
  const isLost = stream !== null && Date.now() - lastEventMs > LOST_AFTER_MS;
  document.getElementById("connection").hidden = !isLost;
  document.body.classList.toggle("stale", isLost);
}

function liveParts() {
  return [...document.querySelectorAll("[data-live]")];
}

function connect() {
  const parts = liveParts();
  if (stream !== null || !parts.length || document.hidden) return;
  const query = new URLSearchParams(parts.map(one => ["part", `${one.id}:${one.dataset.live}`]));
  stream = new EventSource(`/console/live?${query}`);
  lastEventMs = Date.now();
  stream.addEventListener("tick", event => {
    lastEventMs = Date.now();
    clockAheadMs = Number(event.data) * 1000 - Date.now();
  });
  stream.addEventListener("part", event => {
    lastEventMs = Date.now();
    showPart(JSON.parse(event.data));
  });
  stream.addEventListener("error", reconnect);
}

function showPart({id, html}) {
  const shown = document.getElementById(id);
  if (!shown) return;
  if (shown.tagName === "SCRIPT") {
    const made = new DOMParser().parseFromString(html, "text/html").getElementById(id);
    shown.textContent = made.textContent;
    shown.dataset.live = made.dataset.live;
  } else {
    Idiomorph.morph(shown, html, {morphStyle: "outerHTML"}); // keeps the focus and the place in the list
  }
  showAges();
  document.dispatchEvent(new CustomEvent("towntwin:part", {detail: id}));
}

// Lists of incidents are fetched again when one has changed; an incident's own page when it has, unless a form is
// being filled in: then the gateway refuses the outdated form with an explanation.
document.addEventListener("towntwin:part", event => {
  if (event.detail !== "incident-revisions") return;
  htmx.trigger(document.body, "towntwin:incidents");
  const shown = document.getElementById("incident");
  const revisions = JSON.parse(document.getElementById("incident-revisions").textContent);
  const newest = shown && revisions[shown.dataset.id];
  if (!newest || newest <= Number(shown.dataset.revision)) return;
  const isBusy = document.activeElement?.closest("main form") || document.querySelector("main details.action[open]");
  if (!isBusy)
    htmx.ajax("GET", location.pathname, {target: "#main", select: "#main", swap: "outerHTML show:none"});
});

// A new stream names what is shown now; a refused one means that the key has ended.
async function reconnect() {
  stream?.close();
  const answer = await fetch("/v1/me").catch(() => null);
  if (answer?.status === 401) signIn();
  setTimeout(() => { stream = null; connect(); }, 1000 + 2000 * Math.random());
}

function signIn() {
  const here = location.pathname + location.search;
  location.replace(here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`);
}

// Browsers open six connections to a server, whatever the number of tabs: a hidden page leaves its own.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); stream = null; } else connect();
});

// Rows are pushed and morphed, so they have no handlers of their own: a reused element would keep an old one.
document.addEventListener("click", event => {
  const link = event.target.closest("a[data-plotted]");
  if (!link || !document.getElementById("plot") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  htmx.ajax("GET", link.getAttribute("href"), {target: "#plot", select: "#plot", swap: "outerHTML show:none"});
});

document.getElementById("sign-out").addEventListener("click", async () => {
  await fetch("/logout", {method: "POST"});
  location.replace("/login");
});

function showFailure(text) {
  const banner = document.getElementById("failure");
  banner.textContent = text;
  banner.hidden = !text;
}
document.addEventListener("htmx:beforeRequest", () => showFailure(""));
document.addEventListener("htmx:sendError", () => showFailure(document.body.dataset.failed));
document.addEventListener("htmx:responseError", event => {
  const {status, responseText} = event.detail.xhr;
  if (status === 401) { signIn(); return; }
  let detail = "";
  try { detail = JSON.parse(responseText).detail ?? ""; } catch { /* no problem document */ }
  showFailure(`${document.body.dataset.failed} ${detail}`);
});
document.addEventListener("htmx:afterSwap", showAges);

// A form that is sent is replaced with the page's main part: the focus goes to what became of it, so that a keyboard
// goes on from there and a screen reader reads it.
document.addEventListener("htmx:afterSettle", event => {
  if (event.detail.target.id !== "main" || document.activeElement !== document.body) return;
  const shown = document.querySelector("main .refusal, main .notice") ?? document.getElementById("main");
  shown.tabIndex = -1;
  shown.focus({preventScroll: true});
});

setInterval(showAges, 1000);
showAges();
connect();
