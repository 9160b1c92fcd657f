"""The servers that ``benchmarks.mcp_calls`` asks, in one process: ours, the bare SDK's, and a bare FastAPI handler.

Started by the benchmark; prints one JSON line with its ports, and ends with its input.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import structlog
from fastapi import FastAPI
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from commerce_api.brands import Brand, find_brand
from commerce_api.catalogue.search import VARIANTS_SHOWN, Search, search_products
from commerce_api.catalogue.store import variants_of
from commerce_api.rates import Limits, Rates
from commerce_api.schemas import ProductView, SearchView
from commerce_api.serve import server
from commerce_api.views import product_view
from mcp_server.app import BODY_BYTES, BrandEndpoints, mcp_app
from mcp_server.bearer import presented
from mcp_server.profiles import OPEN
from mcp_server.tools import READ, add_tools
from tests.commerce_api.world import World, commerce_world
from tokenization import logs
from tokenization.clock import monotonic_seconds
from tokenization.edge import App

STATE_KEYS = [b"a state key for benchmarks, shared by nobody"]
BEYOND_REACH = 1e9  # calls a second: each is still counted
PRODUCT = "hp-kettle"
QUERY, FOUND = "kettle", 3
T = TypeVar("T")
Read = Callable[[Callable[[Connection], T]], Awaitable[T]]


class Wanted(BaseModel):
    """What the bare FastAPI handler takes: the arguments of ``search_catalog``."""

    query: str = Field(max_length=300)
    limit: int = Field(ge=1, le=20)


def main() -> int:
    """Serves until its input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install(level="ERROR")
    asyncio.run(_serve(arguments))
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(commerce_world(arguments.data, arguments.url))
        endpoints = BrandEndpoints(
            world.commerce, STATE_KEYS, Rates(monotonic_seconds, presented, Limits(BEYOND_REACH, BEYOND_REACH))
        )
        stack.push_async_callback(endpoints.close)
        read = await stack.enter_async_context(plain_read(arguments.url))
        brand = await world.commerce.desk.brand(world.brand)
        found = await world.commerce.desk.search_catalog(world.brand, Search(QUERY, limit=FOUND))
        product = await world.commerce.desk.get_product(world.brand, PRODUCT)
        apps: dict[str, App] = {
            "ours": mcp_app(world.commerce, endpoints),
            "fastapi": cast(App, bare_fastapi(found)),
            "sdk": await stack.enter_async_context(bare_sdk(constant_tools(found, product))),
            "sdk+query": await stack.enter_async_context(bare_sdk(querying_tools(world, read))),
            "sdk+tools": await stack.enter_async_context(bare_sdk(our_tools(world, brand))),
        }
        servers = {name: server(app, "127.0.0.1", 0) for name, app in apps.items()}
        serving = [asyncio.create_task(each.serve()) for each in servers.values()]
        while not all(getattr(each, "servers", None) for each in servers.values()):  # noqa: ASYNC110  # nothing else says so
            await asyncio.sleep(0.05)
        ports = {name: each.servers[0].sockets[0].getsockname()[1] for name, each in servers.items()}
        sys.stdout.write(json.dumps({"ports": ports, "brand": world.brand}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for each in servers.values():
            each.should_exit = True
        await asyncio.gather(*serving)


@asynccontextmanager
async def bare_sdk(bare: MCPServer[Any]) -> AsyncIterator[App]:
    """The SDK's own application with the options that ours has, and nothing in front of it."""
    app = bare.streamable_http_app(stateless_http=True, max_request_body_size=BODY_BYTES)
    async with bare.session_manager.run():
        yield cast(App, app)


def constant_tools(found: SearchView, product: ProductView) -> MCPServer[Any]:
    """Two tools that read nothing, with the same arguments and as much to say."""
    bare = MCPServer[Any](name="bare", log_level="WARNING")

    @bare.tool(annotations=READ)
    async def search_catalog(
        query: Annotated[str, Field(max_length=300)] = "", limit: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> SearchView:
        """Finds products."""
        return found

    @bare.tool(annotations=READ)
    async def get_product(product_id: Annotated[str, Field(max_length=200)]) -> ProductView:
        """A product."""
        return product

    return bare


def querying_tools(world: World, read: Read[Any]) -> MCPServer[Any]:
    """The same two with the queries that ours make, over a connection of SQLAlchemy's own pool."""
    bare = MCPServer[Any](name="bare", log_level="WARNING")
    identifier, is_sqlite = world.brand, world.commerce.database.is_sqlite

    @bare.tool(annotations=READ)
    async def search_catalog(
        query: Annotated[str, Field(max_length=300)] = "", limit: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> SearchView:
        """Finds products."""

        def work(connection: Connection) -> SearchView:
            brand = find_brand(connection, identifier)
            rows = search_products(connection, identifier, Search(query, limit=limit), is_sqlite=is_sqlite)
            return SearchView(products=[product_view(brand, each) for each in rows], next_offset=None)

        return cast(SearchView, await read(work))

    @bare.tool(annotations=READ)
    async def get_product(product_id: Annotated[str, Field(max_length=200)]) -> ProductView:
        """A product."""

        def work(connection: Connection) -> ProductView:
            brand = find_brand(connection, identifier)
            return product_view(brand, variants_of(connection, identifier, [product_id], limit=VARIANTS_SHOWN * 10))

        return cast(ProductView, await read(work))

    return bare


def our_tools(world: World, brand: Brand) -> MCPServer[Any]:
    """Our tools on the SDK alone: nobody looks at who calls, how often and with what, and the call is not recorded."""
    bare = MCPServer[Any](name="bare", log_level="WARNING")
    add_tools(bare, world.commerce, brand, OPEN)
    return bare


@asynccontextmanager
async def plain_read(url: str) -> AsyncIterator[Read[Any]]:
    """Runs a function over a connection, as an application without further needs would."""
    if url.startswith("sqlite"):
        engine = create_engine(url)

        def run(work: Callable[[Connection], T]) -> T:
            with engine.connect() as connection:
                return work(connection)

        yield lambda work: asyncio.to_thread(run, work)
        engine.dispose()
        return
    served = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=16)

    async def ask(work: Callable[[Connection], T]) -> T:
        async with served.connect() as connection:
            return await connection.run_sync(work)

    yield ask
    await served.dispose()


def bare_fastapi(found: SearchView) -> FastAPI:
    """One handler that answers the arguments of a search with as much, checked on its way in and out."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/search")
    async def search(_: Wanted) -> SearchView:
        return found

    return app


if __name__ == "__main__":
    raise SystemExit(main())
