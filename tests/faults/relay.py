"""`python -m tests.faults.relay LISTEN TARGET`: passes on TCP connections; each end is host:port or
the path of a Unix socket, which unlike a port is reached from other network namespaces too."""

from __future__ import annotations

import asyncio
import sys

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(target: str) -> Streams:
    host, colon, port = target.rpartition(":")
    if colon:
        return await asyncio.open_connection(host, int(port))
    return await asyncio.open_unix_connection(target)


async def _pass(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    except OSError:
        pass
    finally:
        to.close()


async def main(listen: str, target: str) -> None:
    """Until it is killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, to_them = await _connect(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, to_them), _pass(theirs, writer))

    host, colon, port = listen.rpartition(":")
    if colon:
        server = await asyncio.start_server(serve, host, int(port))
    else:
        server = await asyncio.start_unix_server(serve, listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
