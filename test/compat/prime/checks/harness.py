"""Runs the checks of a file and prints how each went, as a line of JSON.

The official client is used as a user would, with nothing set but its two environment variables. A check is a coroutine
that takes a `Setting`, and fails by raising.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import sys
import time
import traceback

import httpx
from prime_sandboxes import AsyncSandboxClient, CreateSandboxRequest

VERSION = tuple(int(part) for part in importlib.metadata.version("prime-sandboxes").split(".")[:3])
IMAGE = os.environ["IMAGE"]
# Which of the two wires: "json", "connect", or "" where the client has only one.
WIRE = os.environ.get("WIRE", "")
LIMIT_SECONDS = 180

_checks = []


def check(name):
    def register(work):
        _checks.append((name, work))
        return work

    return register


@contextlib.contextmanager
def raises(kind, text=""):
    """The block must raise this kind, with this text in its message. What was raised is in the list that it is given."""
    raised = []
    try:
        yield raised
    except kind as error:
        raised.append(error)
        assert text in str(error), f"{text!r} is not in {error}"
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


@contextlib.contextmanager
def requests():
    """What the block asks the server for, as it goes: method and path."""
    seen = []
    original = httpx.AsyncClient.send

    async def send(self, request, **options):
        seen.append(f"{request.method} {request.url.path}")
        return await original(self, request, **options)

    httpx.AsyncClient.send = send
    try:
        yield seen
    finally:
        httpx.AsyncClient.send = original


def without_batch_endpoints():
    """From here on they are answered as a server answers that does not know them."""
    original = httpx.AsyncClient.send

    async def send(self, request, **options):
        if "batchGet" in request.url.path:
            return httpx.Response(404, json={"detail": "Not Found"}, request=request)
        return await original(self, request, **options)

    httpx.AsyncClient.send = send


class Setting:
    """A client, and one sandbox that most checks share."""

    def __init__(self):
        self.client = AsyncSandboxClient()
        self.sandbox = None

    def request(self, **fields):
        if VERSION < (0, 3):
            fields.setdefault("vm", WIRE == "connect")
        return CreateSandboxRequest(**{"name": "check", "docker_image": IMAGE, **fields})

    async def create(self, **fields):
        """A sandbox of the check's own, which is ready."""
        made = await self.client.create(self.request(**fields))
        await self.client.wait_for_creation(made.id)
        return made.id

    async def run(self, command, sandbox=None, **options):
        return await self.client.execute_command(sandbox or self.sandbox, command, **options)

    async def until(self, done, seconds=60):
        """Generous: it bounds a hang, it does not measure speed."""
        end = time.monotonic() + seconds
        while not await done():
            assert time.monotonic() < end, f"waited {seconds} s in vain"
            await asyncio.sleep(0.1)


async def _one(setting, work):
    began = time.monotonic()
    try:
        await asyncio.wait_for(work(setting), LIMIT_SECONDS)
        return {"state": "passed", "seconds": round(time.monotonic() - began, 3)}
    except BaseException:
        return {"state": "failed", "message": traceback.format_exc()[-4000:]}


async def _main(together):
    if os.environ.get("BATCH_ENDPOINTS") == "off":
        without_batch_endpoints()
    setting = Setting()

    async def tell(name, work):
        print(json.dumps({"name": name, **await _one(setting, work)}), flush=True)

    try:
        setting.sandbox = await setting.create()
        if together:
            await asyncio.gather(*(tell(name, work) for name, work in _checks))
        else:
            for name, work in _checks:
                await tell(name, work)
    finally:
        with contextlib.suppress(Exception):
            await setting.client.delete(setting.sandbox)
        await setting.client.aclose()


def main(together=False):
    """One after the other, or all at once: those that mostly wait."""
    asyncio.run(_main(together))
    # A thread or a connection of a client that is left must not keep this process.
    sys.stdout.flush()
    os._exit(0)
