"""A relay before each server, which keeps whatever a client says for a while.

What it prints is a directory for each server's socket, in JSON; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


async def _relay(
    behind: str, delay_s: float, client: asyncio.StreamReader, answers: asyncio.StreamWriter
) -> None:
    with suppress(OSError, asyncio.CancelledError):  # it ends with this process
        said, server = await asyncio.open_unix_connection(behind)
        both = asyncio.gather(_pass(client, server, delay_s), _pass(said, answers, 0))
        await both


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            await asyncio.sleep(delay_s)
            writer.write(data)
    writer.close()


async def main(delay_s: float, sockets: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="slow-") as home:
        directories = []
        for number, behind in enumerate(sockets):
            directory = Path(home) / str(number)
            directory.mkdir()
            directories.append(str(directory))

            async def accept(
                client: asyncio.StreamReader, answers: asyncio.StreamWriter, behind: str = behind
            ) -> None:
                await _relay(behind, delay_s, client, answers)

            await asyncio.start_unix_server(accept, directory / ".s.PGSQL.5432")
        print(json.dumps(directories), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2:]))
