"""Tests that a browser gets a page, and a program a problem, whatever fails in the gateway."""

from __future__ import annotations

from fastapi import FastAPI

from gateway.api.problems import add_error_handlers
from gateway.transport.browser_error_pages import BrowserErrorPages
from tests.support.asgi import send_request


def test_an_unexpected_error_is_a_page_in_a_browser_and_a_problem_elsewhere() -> None:
    """The handler of such errors is outside of all middleware: a browser got its JSON."""
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(BrowserErrorPages)

    @app.get("/fails")
    def fails() -> None:
        raise ZeroDivisionError

    page = send_request(app, "GET", "/fails", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "The gateway failed" in page.text
    problem = send_request(app, "GET", "/fails", headers={"Accept": "application/json"})
    assert (problem.status_code, problem.headers["content-type"]) == (500, "application/problem+json")
