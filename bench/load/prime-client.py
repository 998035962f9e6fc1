"""The official Prime client under load, told by lines of JSON on stdin what to do. Answers a line of JSON to each."""

import asyncio
import json
import os
import sys
import time

from prime_sandboxes import AsyncSandboxClient, CreateSandboxRequest


def request(image, label):
    # With the network closed, as the native sandboxes that these are compared with.
    return CreateSandboxRequest(name="bench", docker_image=image, labels=[label], network_allowlist=[])


async def ready(client, image, label):
    made = await client.create(request(image, label))
    await client.wait_for_creation(made.id)
    return made.id


async def rollout(client, image, label, commands):
    began = time.perf_counter()
    try:
        sandbox = await ready(client, image, label)
        for _ in range(commands):
            answer = await client.execute_command(sandbox, "echo step")
            assert (answer.stdout, answer.exit_code) == ("step\n", 0), answer
        await client.delete(sandbox)
        return {"ms": (time.perf_counter() - began) * 1000}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


async def timed(work):
    began = time.perf_counter()
    value = await work
    return (time.perf_counter() - began) * 1000, value


async def main():
    image, label = os.environ["IMAGE"], os.environ["LABEL"]
    client = AsyncSandboxClient()
    steady = await ready(client, image, label)
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        if order["do"] == "exec":
            ms, _ = await timed(client.execute_command(steady, "true"))
            answer = {"ms": ms}
        elif order["do"] == "create":
            ms, made = await timed(ready(client, image, label))
            await client.delete(made)
            answer = {"ms": ms}
        elif order["do"] == "rollouts":
            work = (rollout(client, image, label, order["commands"]) for _ in range(order["n"]))
            answer = {"rollouts": await asyncio.gather(*work)}
        else:
            await client.bulk_delete(labels=[label])
            left = await client.list(labels=[label], exclude_terminated=True)
            answer = {"left": left.total}
        print(json.dumps(answer), flush=True)
    await client.aclose()


asyncio.run(main())
