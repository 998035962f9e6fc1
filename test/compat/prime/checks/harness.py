"""Runs the checks of a file one after the other and prints how each went, as a line of JSON.

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

from prime_sandboxes import APIClient, AsyncSandboxClient, CreateSandboxRequest

VERSION = tuple(int(part) for part in importlib.metadata.version("prime-sandboxes").split(".")[:3])
IMAGE = os.environ["IMAGE"]
# Which of the two wires: "json", "connect", or "" where the client has only one.
WIRE = os.environ.get("WIRE", "")
LIMIT_SECONDS = 120

_checks = []


def check(name):
    def register(work):
        _checks.append((name, work))
        return work

    return register


@contextlib.contextmanager
def raises(kind, text=""):
    """The block must raise this kind, with this text in its message."""
    try:
        yield
    except kind as error:
        assert text in str(error), f"{text!r} is not in {error}"
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


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


async def _main():
    setting = Setting()
    try:
        setting.sandbox = await setting.create()
        for name, work in _checks:
            result = await _one(setting, work)
            print(json.dumps({"name": name, **result}), flush=True)
    finally:
        with contextlib.suppress(Exception):
            await setting.client.delete(setting.sandbox)
        await setting.client.aclose()


def main():
    asyncio.run(_main())
    # A thread or a connection of a client that is left must not keep this process.
    sys.stdout.flush()
    os._exit(0)
