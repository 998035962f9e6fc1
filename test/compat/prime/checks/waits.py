"""What takes its time, all of it at once: checks 9, 13, 15 and 20 of the list in docs/prime.md."""

import asyncio
import os
import time
import uuid

from prime_sandboxes import AsyncSandboxClient, SandboxTimeoutError
from harness import check, main, raises, requests

# Spaced by what clients and servers commonly keep an idle connection for: each call comes just as one may end.
SPACING_SECONDS = 5.0
SPACED_ROUNDS = 10
# As many connections of one client are idle together. Clients take turns, so that no moment has all the calls.
SPACED_AT_ONCE = 25
SPACED_CLIENTS = 4
SPACED_CALLS = SPACED_CLIENTS * SPACED_ROUNDS * SPACED_AT_ONCE


@check("a sandbox that has lived its time, counted from its start, ends as a timeout, and its commands say so")
async def lifetime(s):
    sandbox = await s.create(timeout_minutes=1)

    async def ended():
        return (await s.client.get(sandbox)).status in ("TIMEOUT", "TERMINATED")

    await s.until(ended, 150)
    seen = await s.client.get(sandbox)
    assert seen.error_type == "TIMEOUT", seen
    assert (seen.terminated_at - seen.started_at).total_seconds() >= 59, seen
    with raises(SandboxTimeoutError):
        await s.run("true", sandbox)


@check("a life without end, or of a month, is accepted and shown as it was asked for")
async def long_lives(s):
    for minutes in (-1, 43200):
        made = await s.client.create(s.request(timeout_minutes=minutes))
        assert made.timeout_minutes == minutes
        await s.client.wait_for_creation(made.id)
        await s.client.delete(made.id)


@check("of a thousand commands none runs twice when calls come just as an idle connection ends")
async def never_twice(s):
    count = f"/tmp/count-{uuid.uuid4().hex}"

    async def spaced(turn):
        await asyncio.sleep(turn * SPACING_SECONDS / SPACED_CLIENTS)
        client = AsyncSandboxClient()
        try:
            for _ in range(SPACED_ROUNDS):
                began = time.monotonic()
                calls = (client.execute_command(s.sandbox, f"echo x >> {count}") for _ in range(SPACED_AT_ONCE))
                await asyncio.gather(*calls)
                await asyncio.sleep(max(0, SPACING_SECONDS - (time.monotonic() - began)))
        finally:
            await client.aclose()

    await asyncio.gather(*(spaced(turn) for turn in range(SPACED_CLIENTS)))
    answer = await s.run(f"wc -l < {count}")
    assert answer.stdout.strip() == str(SPACED_CALLS) == "1000", answer


@check("a command that is silent for longer than connections are usually kept succeeds")
async def silent(s):
    seconds = int(os.environ.get("SILENT_SECONDS", "20"))
    answer = await s.run(f"sleep {seconds} && echo done", timeout=seconds + 20)
    assert (answer.stdout, answer.exit_code) == ("done\n", 0), answer


@check("a token is renewed before its end, by the client itself")
async def renewal(s):
    client = AsyncSandboxClient()
    try:
        with requests() as asked:
            await client.execute_command(s.sandbox, "true")

            async def renewed():
                await client.execute_command(s.sandbox, "true")
                await asyncio.sleep(1)
                return len([each for each in asked if each == f"POST /api/v1/sandbox/{s.sandbox}/auth"]) >= 2

            await s.until(renewed)
    finally:
        await client.aclose()


main(together=True)
