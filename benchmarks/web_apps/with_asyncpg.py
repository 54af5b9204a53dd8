"""asyncpg, which speaks the protocol itself, prepares statements and gets binary values."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from psycopg2.extensions import parse_dsn
from web_scene import POOL_SIZE, STATEMENTS, USED

from web_apps.view import DSNS, Rows, body, question, used

#: Its own placeholders.
_STATEMENTS = {text: text % ("$1", "$2") for text in STATEMENTS.values()}

pools: list[asyncpg.Pool] = []


async def open_pools() -> None:
    for dsn in DSNS:
        where = parse_dsn(dsn)
        where["database"] = where.pop("dbname")
        pool = asyncpg.create_pool(**where, min_size=0, max_size=POOL_SIZE, reset=_leave_as_it_is)
        pools.append(await pool)


async def _leave_as_it_is(_connection: Any) -> None:
    """The other contestants send nothing either when they give a connection back."""


async def ask(statement: str, values: tuple[int, int]) -> Rows:
    text = _STATEMENTS[statement]
    rows: list[Any] = []
    for part in await asyncio.gather(*(pool.fetch(text, *values) for pool in pools)):
        rows += map(tuple, part)
    return rows


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    path = scope["path"]
    answer = used() if path == USED else body(await ask(*question(path)))
    length = str(len(answer)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def live(receive: Any, send: Any) -> None:
    """From the server's start to its end."""
    await receive()
    await open_pools()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    for pool in pools:
        await pool.close()
    await send({"type": "lifespan.shutdown.complete"})
