"""Reads the console's pages in a browser: the map's states, shown texts, findings of axe-core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from gateway.auth import api_keys
from gateway.auth.principal import Role
from tests.support.gateway_access import ACCOUNTS

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "axe" / "axe.min.js"
STATUS_COUNTS = """() => {
  const counts = {};
  for (const {properties} of document.getElementById("map").features.features)
    if (properties.kind === "node") counts[properties.status] = (counts[properties.status] ?? 0) + 1;
  return counts;
}"""
OVERLAPPING_LABELS = """() => {
  const boxes = [...document.querySelectorAll("#map .map-label:not(.crowded)")].map(one =>
    [one.textContent, one.getBoundingClientRect()]);
  return boxes.flatMap(([text, one], at) => boxes.slice(at + 1).filter(([, other]) =>
    one.left < other.right - 1 && other.left < one.right - 1 &&
    one.top < other.bottom - 1 && other.top < one.bottom - 1)
    .map(([covered]) => `${text} / ${covered}`));
}"""
SHOWN_TEXTS = """() => {
  // What is marked as English is meant to be: ids, details of messages.
  document.querySelectorAll('[lang="en"]').forEach(one => { one.hidden = true; });
  const found = [document.title, document.body.innerText];
  document.querySelectorAll("[title], [alt], [placeholder], [aria-label]").forEach(one =>
    ["title", "alt", "placeholder", "aria-label"].forEach(name => found.push(one.getAttribute(name) ?? "")));
  return found;
}"""
# What a name that holds markup adds to the texts.
MARKUP_IN_NAMES = "<img src=x onerror=window.ran=1><script>window.ran=1</script>"


def wait_for_map(page: Page) -> None:
    """Wait until the map is drawn; a wait for an expression would need eval, which the policy forbids."""
    expect(page.locator("#map")).to_have_attribute("data-drawn", "yes")


def status_counts(page: Page) -> dict[str, int]:
    """Return how many points of the map have each status."""
    counts: dict[str, int] = page.evaluate(STATUS_COUNTS)
    return counts


def overlapping_labels(page: Page) -> list[str]:
    """Return the pairs of labels of the map that are shown and cover each other."""
    found: list[str] = page.evaluate(OVERLAPPING_LABELS)
    return found


def shown_texts(page: Page) -> list[str]:
    """Return what a page shows to eyes and to screen readers, without the markup in names."""
    texts: list[str] = page.evaluate(SHOWN_TEXTS)
    return [one.replace(MARKUP_IN_NAMES, "") for one in texts]


def serious_findings(page: Page, *, contrast_only: bool = False) -> list[str]:
    """Return the serious and critical findings of axe-core on a page, and landmarks of one name.

    Each has its first element.
    """
    page.add_script_tag(path=AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if contrast_only:
        options["runOnly"] = ["color-contrast"]
    result: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']}: {one['nodes'][0]['target']} {one['nodes'][0].get('failureSummary', '')}"
        for one in result["violations"]
        if one["impact"] in {"serious", "critical"} or one["id"] == "landmark-unique"
    ]


def key_of_area(area: str) -> str:
    """Return a new viewer's key of an area."""
    return api_keys.create_key(
        ACCOUNTS, name=f"of {area}", role=Role.VIEWER, area_id=area, created_by="tests"
    )[1]


def sign_in(page: Page, login_url: str) -> None:
    """Open the login page with its key and wait until the page behind it has run its scripts.

    The login page leads on by a script of its own, after the load that `Page.goto` waits for: whatever is
    done in between meets a page without handlers.

    Parameters
    ----------
    page
        A page of the browser.
    login_url
        Address of the login page with the key in its fragment.

    """
    page.goto(login_url)
    page.wait_for_url(lambda url: "/login" not in url, wait_until="load")
