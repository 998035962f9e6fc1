"""The newest `verifiers`: the runtime that it gives its agents, and evaluations. Check 26 of the list in docs/prime.md."""

import asyncio
import json
import os
import socket
import sys

from lines import check, count, interrupted, main
from verifiers.v1.errors import SandboxError
from verifiers.v1.runtimes.prime import PrimeConfig, PrimeRuntime

IMAGE = os.environ["IMAGE"]
MODEL_URL = os.environ["MODEL_URL"]
ROLLOUTS = 64
FEW = 8
# Of `scripted_agent.py`.
TASKS = 2
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}


def runtime(label, **fields):
    return PrimeRuntime(PrimeConfig(image=IMAGE, labels=[label], **fields), name="trace-1")


@check("a runtime starts, runs, writes, reads, and leaves no sandbox")
async def life():
    mine = runtime("life")
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
        # Its shell makes the log, and may not have come to it.
        log = await mine.run(["sh", "-c", "until grep started /tmp/server.log; do sleep 0.1; done"], {})
        assert log.stdout == "started\n", log
    finally:
        await mine.stop()
    assert await count("life") == 0


@check("an agent's process speaks over its stdin and stdout")
async def process():
    mine = runtime("process")
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
    all_of_them = [runtime("many") for _ in range(8)]
    await asyncio.gather(*(each.start() for each in all_of_them))
    try:
        done = await asyncio.gather(*(each.run(["echo", str(n)], {}) for n, each in enumerate(all_of_them)))
        assert [each.stdout for each in done] == [f"{n}\n" for n in range(8)], done
    finally:
        await asyncio.gather(*(each.stop() for each in all_of_them))
    assert await count("many") == 0


@check("a policy for single hosts is refused before the agent starts, and never pretended")
async def policy():
    mine = runtime("policy", allow=["pypi.org"])
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


def evaluation(label, output, rollouts):
    """The command line of an evaluation of `scripted_agent.py`, with a tunnel of our own: this machine's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agent = {"type": "prime", "image": IMAGE, "memory": 0.1, "labels": json.dumps([label])}
    tunnel = {"type": "custom", "url": f"http://127.0.0.1:{port}", "port": port}
    options = {
        **{f"env.agent.runtime.{name}": value for name, value in agent.items()},
        "env.interception.type": "server",
        **{f"env.interception.tunnel.{name}": value for name, value in tunnel.items()},
        "client.base-url": MODEL_URL,
        "model": "scripted",
        "num-rollouts": rollouts // TASKS,
        "output-dir": output,
        "run.name": "run",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    program = os.path.join(os.path.dirname(sys.executable), "vf-eval")
    return [program, "scripted-agent", *words, "--no-rich", "--no-push"]


@check("an evaluation of two tasks by 64 rollouts at once, through a tunnel of one's own, succeeds and leaves no sandbox")
async def evaluate():
    output = os.path.join(os.environ["HOME"], "evaluation")
    child = await asyncio.create_subprocess_exec(
        *evaluation("evaluate", output, ROLLOUTS),
        env=ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0, told[-4000:].decode()
    with open(os.path.join(output, "run", "traces.jsonl")) as file:
        traces = [trace for line in file for trace in json.loads(line)["traces"]]
    failed = [str(trace["errors"])[-1000:] for trace in traces if trace["errors"]]
    assert len(traces) == ROLLOUTS and not failed, (len(failed), failed[:3])
    assert [trace["rewards"]["made"]["score"] for trace in traces] == [1.0] * ROLLOUTS
    assert await count("evaluate") == 0


@check("an evaluation that is interrupted leaves no sandbox")
async def ctrl_c():
    output = os.path.join(os.environ["HOME"], "interrupted")
    script = json.dumps([["bash", {"command": "sleep 300"}]])
    await interrupted("ctrl_c", *evaluation("ctrl_c", output, FEW), env={**ENVIRONMENT, "SCRIPT": script})
    assert await count("ctrl_c") == 0


main(together=True)
