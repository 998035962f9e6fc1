"""A way to the service on which connections are cut: what a client does about it is to be seen."""

import asyncio
import contextlib
import re
from urllib.parse import urlsplit

_METHOD = re.compile(rb"^POST [^ ]*CommandSession/(\w+) HTTP")
_CHUNK_BYTES = 64 * 1024


class CutWay:
    """A server on this machine that passes all it gets to the service, and back."""

    def __init__(self, url):
        self._target = urlsplit(url)
        self._server = None
        self._open = {}
        self._lost = {}
        # Methods of the Connect wire that were called, in order.
        self.called = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writers in list(self._open):
            self._cut(writers)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self, method):
        """Breaks the connections that a call of this method is on, and says how many."""
        found = [writers for writers, current in self._open.items() if current == method]
        for writers in found:
            self._cut(writers)
        return len(found)

    def lose_answer(self, method):
        """The next answer to this method does not arrive: its connection breaks instead."""
        self._lost[method] = self._lost.get(method, 0) + 1

    def _cut(self, writers):
        for writer in writers:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        service, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        writers = (writer, back)
        self._open[writers] = None
        try:
            await asyncio.gather(self._there(reader, back, writers), self._back(service, writer, writers))
        finally:
            self._open.pop(writers, None)
            self._cut(writers)

    async def _there(self, reader, writer, writers):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                if found := _METHOD.match(data):
                    self._open[writers] = found[1].decode()
                    self.called.append(self._open[writers])
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _back(self, reader, writer, writers):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                method = self._open[writers]
                if self._lost.get(method, 0) > 0:
                    self._lost[method] -= 1
                    return self._cut(writers)
                writer.write(data)
                await writer.drain()
        writer.close()
