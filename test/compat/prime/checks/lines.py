"""A list of checks that need no client of their own, each told as a line of JSON, and what they share."""

import asyncio
import json
import os
import signal
import sys
import traceback

from prime_sandboxes import AsyncSandboxClient

LIMIT_SECONDS = 240

_checks = []


async def count(label):
    """How many sandboxes with this label have not ended."""
    client = AsyncSandboxClient()
    try:
        return (await client.list(labels=[label], exclude_terminated=True)).total
    finally:
        await client.aclose()


async def interrupted(label, *program, env=None):
    """Runs an evaluation as a process, presses Ctrl-C once its rollouts are at their commands, and waits for its end."""
    child = await asyncio.create_subprocess_exec(
        *program,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    client = AsyncSandboxClient()
    try:
        while not await _busy(client, label):
            assert child.returncode is None, "the evaluation ended before it was interrupted"
            await asyncio.sleep(0.5)
        child.send_signal(signal.SIGINT)
        await asyncio.wait_for(child.wait(), LIMIT_SECONDS)
    finally:
        await client.aclose()
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _busy(client, label):
    """Whether the command of any of them runs: a client with few threads begins with few."""
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    running = [each.id for each in (await client.list(labels=[label], status="RUNNING", per_page=100)).sandboxes]
    answers = await asyncio.gather(*(client.execute_command(each, look) for each in running))
    return any("sleep 3" in answer.stdout for answer in answers)


def check(name):
    def register(work):
        _checks.append((name, work))
        return work

    return register


async def _one(name, work):
    try:
        await asyncio.wait_for(work(), LIMIT_SECONDS)
        result = {"state": "passed"}
    except BaseException:
        result = {"state": "failed", "message": traceback.format_exc()[-6000:]}
    print(json.dumps({"name": name, **result}), flush=True)


async def _main(together):
    if together:
        await asyncio.gather(*(_one(name, work) for name, work in _checks))
    else:
        for name, work in _checks:
            await _one(name, work)


def main(together=False):
    """One after the other, or all at once: those that mostly wait and have sandboxes of their own."""
    asyncio.run(_main(together))
    sys.stdout.flush()
    os._exit(0)
