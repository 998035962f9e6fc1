"""The runtime that the newest `verifiers` gives its agents: part of check 26 of the list in docs/prime.md."""

import asyncio
import os

from lines import check, main
from prime_sandboxes import AsyncSandboxClient
from verifiers.v1.errors import SandboxError
from verifiers.v1.runtimes.prime import PrimeConfig, PrimeRuntime

IMAGE = os.environ["IMAGE"]


def runtime(**fields):
    return PrimeRuntime(PrimeConfig(image=IMAGE, **fields), name="trace-1")


async def left():
    client = AsyncSandboxClient()
    try:
        return (await client.list(exclude_terminated=True)).total
    finally:
        await client.aclose()


@check("a runtime starts, runs, writes, reads, and leaves no sandbox")
async def life():
    mine = runtime()
    await mine.start()
    try:
        assert await mine.alive()
        done = await mine.run(["sh", "-c", 'pwd; echo "$A" >&2; exit 3'], {"A": "b c"})
        assert (done.exit_code, done.stdout, done.stderr) == (3, "/app\n", "b c\n"), done
        data = bytes(range(256)) * 1000
        await mine.write("deep/er/file.bin", data)
        assert await mine.read("deep/er/file.bin") == data
        assert await mine.read("/app/deep/er/file.bin", max_bytes=len(data)) == data
        await mine.run_background(["sh", "-c", "echo started; sleep 600"], {}, "/tmp/server.log")
        for _ in range(600):
            if b"started" in await mine.read("/tmp/server.log"):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the background program did not start")
    finally:
        await mine.stop()
    assert await left() == 0


@check("an agent's process speaks over its stdin and stdout")
async def process():
    mine = runtime()
    await mine.start()
    try:
        agent = await mine.open_process(["python3", "-uc", "for line in iter(input, 'quit'): print(line[::-1])"], {})
        await agent.write(b"hello\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += await asyncio.wait_for(anext(agent.stdout), 60)
        assert answer == b"olleh\n", answer
        await agent.write(b"quit\n")
        assert await asyncio.wait_for(agent.wait(), 60) == 0
    finally:
        await mine.stop()


@check("many runtimes at once share one client, and all of them run")
async def many():
    all_of_them = [runtime() for _ in range(8)]
    await asyncio.gather(*(each.start() for each in all_of_them))
    try:
        done = await asyncio.gather(*(each.run(["echo", str(n)], {}) for n, each in enumerate(all_of_them)))
        assert [each.stdout for each in done] == [f"{n}\n" for n in range(8)], done
    finally:
        await asyncio.gather(*(each.stop() for each in all_of_them))
    assert await left() == 0


@check("a policy for single hosts is refused before the agent starts, and never pretended")
async def policy():
    mine = runtime(allow=["pypi.org"])
    await mine.start()
    try:
        try:
            await mine.prepare_execution([])
        except SandboxError as error:
            assert "not for single hosts" in str(error), error
        else:
            raise AssertionError("the policy was accepted")
    finally:
        await mine.stop()


main()
