"""Live processes: check 22 of the list in docs/prime.md."""

import asyncio
import time

from prime_sandboxes import APIError
from harness import VERSION, check, main, raises


async def read(stream, size):
    data = b""
    while len(data) < size:
        data += await asyncio.wait_for(stream.__anext__(), 60)
    return data


@check("what is written to a live process comes back, and it ends by a signal")
async def echo(s):
    process = await s.client.open_process(s.sandbox, "cat")
    assert process.pid > 0
    await process.write_stdin(b"hello \xff\x00 bytes\n")
    assert await read(process.stdout, 15) == b"hello \xff\x00 bytes\n"
    await process.write_stdin(b"x" * 200_000)
    assert await read(process.stdout, 200_000) == b"x" * 200_000
    await process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 143
    await process.aclose()


@check("stdout and stderr of a live process are apart, and its exit code is told")
async def apart(s):
    script = "echo out; echo err >&2; read line; echo got $line; exit 7"
    process = await s.client.open_process(s.sandbox, script, working_dir="/usr", env={"A": "b"})
    assert await read(process.stdout, 4) == b"out\n"
    assert await read(process.stderr, 4) == b"err\n"
    await process.write_stdin(b"line\n")
    assert await read(process.stdout, 9) == b"got line\n"
    assert await asyncio.wait_for(process.wait(), 60) == 7
    await process.aclose()


@check("a signal reaches what a process has started, so that the end is told")
async def group(s):
    process = await s.client.open_process(s.sandbox, "sleep 600 | cat; echo never")
    await process.kill()
    assert await asyncio.wait_for(process.wait(), 60) == 137
    await process.aclose()


@check("closing a live process ends it")
async def closing(s):
    process = await s.client.open_process(s.sandbox, "echo $$; sleep 602")
    await read(process.stdout, 2)
    await process.aclose()

    async def gone():
        answer = await s.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        return "sleep 602" not in answer.stdout

    await s.until(gone)


async def usual_seconds(s):
    """How long a command takes: the median of a few."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert (await s.run("echo room")).stdout == "room\n"
        took.append(time.monotonic() - began)
    return sorted(took)[len(took) // 2]


@check("of two hundred live processes at once all answer, and commands do within a second all the same")
async def many(s):
    alone = await usual_seconds(s)
    processes = await asyncio.gather(*(s.client.open_process(s.sandbox, "cat") for _ in range(200)))
    # On a machine where a command alone takes its time, as many times that.
    assert await usual_seconds(s) < max(1, 20 * alone), alone
    for process in processes:
        await process.write_stdin(b"ping")
    for process in processes:
        assert await read(process.stdout, 4) == b"ping"
    await asyncio.gather(*(process.kill() for process in processes))
    await asyncio.gather(*(process.aclose() for process in processes))


@check("a program that does not exist, or a directory, is told and not tried for ever")
async def refused(s):
    process = await s.client.open_process(s.sandbox, "no-such-program-here")
    assert await asyncio.wait_for(process.wait(), 60) == 127
    await process.aclose()
    with raises(APIError):
        await s.client.open_process(s.sandbox, "true", working_dir="/no/such/dir")


main()
