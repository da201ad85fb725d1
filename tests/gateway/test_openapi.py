"""Tests the OpenAPI description: its examples hold, and no request that it allows breaks the gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import schemathesis
from httpx import ASGITransport, AsyncClient
from hypothesis import HealthCheck, given, reject, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api import examples
from gateway.network_exchange import NetworkExchange
from gateway.settings import Settings
from tests.support.api_example_writer import NETWORK_WORKER, REQUESTS, example_response, prepare
from tests.support.gateway_access import HEADERS, gateway_app

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

    from ingest_service.storage.postgres.store import PostgresStore

# A stream of events never ends: its own tests bound it (test_live.py).
ENDLESS = {"GET /v1/live"}
OF_NETWORK_FILES = {"/v1/twin/network/imports", "/v1/twin/network/export"}
EXAMPLES_OF_BODIES, EXAMPLES_OF_PARAMETERS = 35, 15  # generated requests of one operation
FEWER_EXAMPLES = {"GET /v1/twin/placement/report": 5, "PUT /v1/cells": 15}  # a document; long polygons
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="session")
def app(filled_store: PostgresStore) -> FastAPI:
    prepare(filled_store)
    return gateway_app(filled_store, settings=Settings(requests_burst=100_000), network_worker=NETWORK_WORKER)


def operations(app: FastAPI) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }


def test_the_description_is_valid(app: FastAPI) -> None:
    assert app.openapi()["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(app.openapi()).validate()


def test_every_operation_has_an_example(app: FastAPI) -> None:
    assert set(operations(app)) - ENDLESS == set(examples.load_examples()) == set(REQUESTS)


def test_the_authentication_of_a_route_is_described(app: FastAPI) -> None:
    for name, operation in operations(app).items():
        found = app.state.route_rights.match(*name.split(" "))
        assert found is not None
        if found.right.role is None:
            assert operation["security"] == []
            continue
        assert operation["security"] == [{"bearer": []}, {"header": []}]
        assert {"401", "403", "429"} <= operation["responses"].keys()
        assert f"Role {found.right.role.role_name}" in operation["description"]


@pytest.fixture(scope="session")
def example_answers(app: FastAPI) -> dict[str, Response]:
    """Provide the responses to the requests of all examples (their own requests, but for the time).

    They are sent before any generated request, which may delete what an example shows.
    """
    return {name: example_response(app, name, *REQUESTS[name]) for name in examples.load_examples()}


@pytest.mark.parametrize("name", examples.load_examples())
def test_an_example_can_be_requested_and_its_response_is_as_described(
    name: str, app: FastAPI, example_answers: dict[str, Response]
) -> None:
    description, example = app.openapi(), examples.load_examples()[name]
    answer = example_answers[name]
    assert answer.status_code == 200, answer.text
    media = answer.headers["content-type"].split(";")[0]
    content = operations(app)[name]["responses"]["200"]["content"][media]
    if not media.endswith("json"):
        return
    assert content["example"] == example["answer"]
    validator = jsonschema_rs.validator_for(
        content["schema"] | {"components": description["components"]}, validate_formats=True
    )
    for shown in (example["answer"], answer.json()):
        validator.validate(shown)


@pytest.fixture(scope="session")
def described(app: FastAPI, example_answers: dict[str, Response]) -> Any:  # noqa: ARG001 -- sent before
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def send(app: FastAPI, request_args: dict[str, Any]) -> Any:
    async def send_request() -> Any:
        async with AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False)) as client:
            answer = await client.request(**request_args)
            await answer.request.aread()  # of a form with files, which is sent as a stream
            return answer

    return asyncio.run(send_request())


@pytest.mark.parametrize("name", examples.load_examples())
def test_nothing_that_is_described_breaks_the_gateway(
    name: str, app: FastAPI, described: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, path = name.split(" ")
    if path in OF_NETWORK_FILES:  # each would start a process, which takes a second
        without = replace(app.state.context, network_exchange=NetworkExchange(()))
        monkeypatch.setitem(app.state._state, "context", without)
    has_body = "requestBody" in operations(app)[name]

    @given(case=described[path][method].as_strategy())
    @settings(
        max_examples=FEWER_EXAMPLES.get(name, EXAMPLES_OF_BODIES if has_body else EXAMPLES_OF_PARAMETERS),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: Any) -> None:
        request_args = case.as_transport_kwargs(base_url="http://gateway")
        request_args.pop("cookies", None)  # there are none
        if isinstance(request_args.get("data"), bytes | str):  # which the client wants to have called content
            request_args["content"] = request_args.pop("data")
        request_args["headers"] = {**request_args.get("headers", {}), **HEADERS}
        try:
            answer = send(app, request_args)
        except (AttributeError, TypeError):
            assert "files" in request_args
            reject()  # a number in place of a file, which the client can't put into a form
        if answer.status_code == 501:  # the answer of SensorThings to what it does not have, as $batch
            assert path.startswith("/sta/") or path in OF_NETWORK_FILES
        else:
            case.validate_response(answer, checks=CHECKS)

    holds()
