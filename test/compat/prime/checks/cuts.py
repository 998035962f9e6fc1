"""Streams that are cut, and answers that are lost, with a client that goes on: check 23 of the list in docs/prime.md."""

import asyncio
import contextlib
import os

from cutting import CutWay
from harness import IMAGE, check, main, raises
from prime_sandboxes import APIError, AsyncSandboxClient, CreateSandboxRequest

URL = os.environ["PRIME_API_BASE_URL"]


@contextlib.asynccontextmanager
async def over_cuts():
    """A client, a sandbox of its own, and the way between them and the service."""
    async with CutWay(URL) as way:
        os.environ["PRIME_API_BASE_URL"] = way.url
        try:
            client = AsyncSandboxClient()
        finally:
            os.environ["PRIME_API_BASE_URL"] = URL
        made = await client.create(CreateSandboxRequest(name="cuts", docker_image=IMAGE))
        try:
            await client.wait_for_creation(made.id)
            yield client, made.id, way
        finally:
            await client.delete(made.id)
            await client.aclose()


async def read(process, wanted):
    data = b""
    while len(data) < len(wanted):
        data += await asyncio.wait_for(anext(process.stdout), 60)
    assert data == wanted, data


@check("a live process whose stream is cut goes on: its output and its exit code come by the next")
async def attached_again(_):
    async with over_cuts() as (client, sandbox, way):
        script = "echo begun; read a; echo got $a; read b; echo last $b; exit 9"
        process = await client.open_process(sandbox, script)
        await read(process, b"begun\n")
        assert way.cut("Start") >= 1, way.called
        await process.write_stdin(b"one\n")
        await read(process, b"got one\n")
        assert way.called.count("Connect") == 1 and way.cut("Connect") == 1, way.called
        await process.write_stdin(b"two\n")
        await read(process, b"last two\n")
        assert await asyncio.wait_for(process.wait(), 60) == 9
        assert way.called.count("Connect") >= 2, way.called
        await process.aclose()


@check("input and signals whose answers are lost are sent again, and arrive once")
async def once(_):
    async with over_cuts() as (client, sandbox, way):
        script = "trap 'echo told >> /tmp/told' TERM; while read line; do echo $line; done"
        process = await client.open_process(sandbox, script)
        way.lose_answer("SendInput")
        await process.write_stdin(b"first\n")
        await process.write_stdin(b"second\n")
        await read(process, b"first\nsecond\n")
        assert way.called.count("SendInput") == 3, way.called
        way.lose_answer("SendSignal")
        await process.terminate()
        assert way.called.count("SendSignal") == 2, way.called
        told = "until [ -e /tmp/told ]; do sleep 0.1; done; sleep 0.5; cat /tmp/told"
        assert (await client.execute_command(sandbox, told)).stdout == "told\n"
        await process.kill()
        assert await asyncio.wait_for(process.wait(), 60) == 137
        await process.aclose()


@check("a command whose stream is cut is an error, and does not run again")
async def commands(_):
    async with over_cuts() as (client, sandbox, way):
        work = asyncio.create_task(client.execute_command(sandbox, "echo x >> /tmp/ran; exec sleep 604"))
        await client.execute_command(sandbox, "until [ -e /tmp/ran ]; do sleep 0.1; done")
        way.cut("Start")
        with raises(APIError, "unavailable"):
            await work
        assert (await client.execute_command(sandbox, "cat /tmp/ran")).stdout == "x\n"


main()
