"""Whatever the published descriptions allow and forbid is sent: no 5xx, only answers as described, and no echo of a card.

The cases are made by schemathesis from the zone's own OpenAPI. Each is sent by a caller who may make the call, so that it gets
as far as it can.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from commerce_api.settings import sqlite_url
from tests.requirement import requirement
from tests.vault_zone.callers import as_peer, forward_engine, zone_of
from tests.vault_zone.forward.world import forward_world
from tests.vault_zone.world import VISA, zone_world
from tokenization.edge import App
from tokenization.scanner import contains_card
from vault_zone.app import internal_app, internal_http, public_app, public_http
from vault_zone.callers import verbs_of
from vault_zone.roles import ROLES

EXAMPLES = 6  # of each operation, by and against its description
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
load_all_checks()
CHECKS_MADE = [cast(Any, check) for check in CHECKS.get_by_names(list(CHECKED))]
MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Api:
    """One of the zone's two programs, its description, and who calls it."""

    def __init__(self, runner: asyncio.Runner, app: App, described: FastAPI, callers: dict[str, str]) -> None:
        self._runner = runner
        self._app = app
        self._callers = callers
        self.schema = schemathesis.openapi.from_dict(described.openapi())

    def send(self, case: Any) -> httpx.Response:
        """The answer to one case."""

        async def asked() -> httpx.Response:
            app = as_peer(self._app, self._callers.get(f"{case.method.upper()} {case.operation.path}"))
            transport = httpx.ASGITransport(app=cast(Any, app), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://zone") as client:
                sent = case.as_transport_kwargs(base_url="http://zone")
                names = ("method", "url", "params", "headers", "json")
                taken = {name: sent[name] for name in names if sent.get(name) is not None}
                client.cookies.update(sent.get("cookies") or {})
                return await client.request(**taken, content=sent.get("data"))

        return self._runner.run(asked())


Made = TypeVar("Made")


@contextmanager
def in_loop(made: AbstractAsyncContextManager[Made]) -> Iterator[tuple[asyncio.Runner, Made]]:
    """A world, in a loop that a test without a loop can run."""
    with asyncio.Runner() as runner:
        world = runner.run(cast(Any, made.__aenter__()))
        try:
            yield runner, world
        finally:
            runner.run(cast(Any, made.__aexit__(None, None, None)))


@pytest.fixture
def internal(tmp_path: Path) -> Iterator[Api]:
    """The internal API, with a destination to forward to."""
    with in_loop(forward_world(sqlite_url(tmp_path), tmp_path)) as (runner, world):
        zone = zone_of(world.zone, data=tmp_path, forwards=forward_engine(world.zone, world.directory))
        yield Api(runner, internal_app(zone), internal_http(zone), callers_of(internal_http(zone)))


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Api]:
    """The public API."""
    with in_loop(zone_world(sqlite_url(tmp_path))) as (runner, world):
        zone = zone_of(world, data=tmp_path)
        yield Api(runner, public_app(zone), public_http(zone), {})


def callers_of(described: FastAPI) -> dict[str, str]:
    """For each operation an identity that may ask for it."""
    callers = {}
    for found in iter_route_contexts(described.routes):
        route = found.original_route
        if isinstance(route, APIRoute):
            [verb] = verbs_of(route)
            name, role = next((name, role) for name, role in ROLES.items() if verb in role.verbs)
            for method in route.methods or ():
                callers[f"{method} {route.path}"] = f"{role.kind.value}:{name.replace('_', '-')}"
    return callers


def check_all(api: Api, modes: tuple[GenerationMode, ...]) -> int:
    """Sends the cases of every operation and checks each answer; returns how many were sent."""
    sent = 0
    for result in api.schema.get_all_operations():
        operation = cast(Any, result).ok()
        for mode in modes:
            if mode is GenerationMode.NEGATIVE and not operation.body:  # any text is a path
                continue

            @MANY
            @given(case=operation.as_strategy(generation_mode=mode))
            def run(case: Any) -> None:
                nonlocal sent
                response = api.send(case)
                case.validate_response(response, checks=CHECKS_MADE)
                sent += 1

            run()
    return sent


def has_input(operation: Any) -> bool:
    """Whether there is anything to get wrong."""
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


def check_no_echo(api: Api) -> int:
    """Plants a card number at one place of each case; returns how many were sent."""
    sent = 0
    for result in api.schema.get_all_operations():
        operation = cast(Any, result).ok()
        if not has_input(operation):
            continue

        @MANY
        @given(case=operation.as_strategy(), data=st.data())
        def run(case: Any, data: st.DataObject) -> None:
            nonlocal sent
            plant(case, data)
            answer = api.send(case)
            assert echoes(answer) is False, f"{case.operation.label} repeats what it was sent"
            sent += 1

        run()
    return sent


def echoes(answer: httpx.Response) -> bool:
    """Whether an answer repeats the number that was planted, or anything card-like."""
    told = answer.text + " ".join(value for name, value in answer.headers.items() if name != "content-length")
    return VISA in told or contains_card(answer.text[:4000])


def plant(case: Any, data: st.DataObject) -> None:
    """Puts a card number in the place of one value of the case, in path, query or body."""
    places = [(case.path_parameters, name) for name in case.path_parameters or {}]
    places += [(case.query, name) for name in case.query or {}]
    places += list(leaves(case.body))
    if not places:
        places = [(case.query, "note")]
    holder, name = data.draw(st.sampled_from(places))
    cast(Any, holder)[name] = VISA


def leaves(content: object) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON body that holds a value by itself."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in list(pairs):
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield content, name


@requirement("6.2.4")
def test_the_internal_api_answers_as_it_is_described_whatever_it_is_sent(internal: Api) -> None:
    assert check_all(internal, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)) > 120


@requirement("6.2.4")
def test_the_public_listener_answers_as_it_is_described_whatever_it_is_sent(public: Api) -> None:
    assert check_all(public, (GenerationMode.POSITIVE,)) > 30


@requirement("6.2.4")
def test_no_answer_of_the_internal_api_repeats_a_card_number(internal: Api) -> None:
    assert check_no_echo(internal) > 80


def test_no_answer_of_the_public_listener_repeats_a_card_number(public: Api) -> None:
    assert check_no_echo(public) > 25


class Order(BaseModel):
    """What the planted program takes."""

    amount: int
    note: Annotated[str, Field(max_length=8)]


@contextmanager
def planted(answer: Callable[[Order], Any]) -> Iterator[Api]:
    """A program with one route, and with the framework's own errors."""
    app = FastAPI()
    app.post("/orders")(answer)
    with asyncio.Runner() as runner:
        yield Api(runner, cast(App, app), app, {})


def test_a_program_with_the_frameworks_own_errors_is_found_to_repeat_a_card() -> None:
    def take(order: Order) -> dict[str, int]:
        return {"amount": order.amount}

    with planted(take) as api, pytest.raises(AssertionError, match="repeats what it was sent"):
        check_no_echo(api)


def test_a_program_that_fails_or_answers_otherwise_than_described_is_found() -> None:
    def fail(order: Order) -> dict[str, int]:
        raise ZeroDivisionError

    def stray(order: Order) -> JSONResponse:
        return JSONResponse({"late": True}, 418)

    for answer in (fail, stray):
        with planted(answer) as api, pytest.raises(FailureGroup):
            check_all(api, (GenerationMode.POSITIVE,))
