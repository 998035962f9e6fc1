"""Commands that run while a part of the service is killed: check 19 of the list in docs/prime.md.

Each phase ends when a line comes in, and tells how far it is in lines of JSON: whoever starts this kills the part.
"""

import asyncio
import json
import sys

from prime_sandboxes import APIError, SandboxNotRunningError
from harness import Setting

LIMIT_SECONDS = 240
LOOK = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


async def cut(setting, seconds):
    """Runs a command, says when it runs, and what its caller got in the end."""
    work = asyncio.create_task(setting.run(f"sleep {seconds}", timeout=seconds + 10))
    while f"sleep {seconds}" not in (await setting.run(LOOK)).stdout:
        await asyncio.sleep(0.1)
    tell("running")
    try:
        answer = await work
        tell("over", outcome="answered", exit_code=answer.exit_code)
    except (APIError, SandboxNotRunningError) as error:
        tell("over", outcome=type(error).__name__, text=str(error))


async def again(setting, wanted):
    """Runs commands until one ends as it should."""
    while True:
        try:
            outcome = (await setting.run("echo alive")).stdout.strip()
        except (APIError, SandboxNotRunningError) as error:
            outcome = type(error).__name__
        if outcome == wanted:
            return tell("settled", outcome=outcome)
        await asyncio.sleep(0.2)


async def main():
    setting = Setting()
    setting.sandbox = await setting.create()
    # Short, since the older clients send a command again whose connection broke.
    await cut(setting, 8)
    await again(setting, "alive")
    await asyncio.to_thread(sys.stdin.readline)
    await cut(setting, 200)
    await again(setting, SandboxNotRunningError.__name__)
    await setting.client.aclose()


asyncio.run(asyncio.wait_for(main(), LIMIT_SECONDS))
