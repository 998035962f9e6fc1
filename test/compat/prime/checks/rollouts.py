"""Evaluations of `verifiers`, with real rollouts: checks 24 and 25 of the list in docs/prime.md."""

import asyncio
import os
import sys

import verifiers as vf
from evaluations import CLIENT, SMALL, outputs_of, questions, remembering, reward
from lines import check, count, interrupted, main
from prime_sandboxes import AsyncSandboxClient

IMAGE = os.environ["IMAGE"]
ROLLOUTS = 64

# Images that are made from Debian's packages call it python3.
NAME_PYTHON = "command -v python || ln -s $(command -v python3) /usr/local/bin/python\n"


@check("a SandboxEnv evaluation runs its tools in sandboxes, waits for none of them, and leaves none")
async def sandbox_env():
    looks = {}
    original = AsyncSandboxClient.get

    async def get(self, sandbox_id):
        looks[sandbox_id] = looks.get(sandbox_id, 0) + 1
        return await original(self, sandbox_id)

    AsyncSandboxClient.get = get
    script = [
        ["bash", {"command": "echo first $N; echo state > /tmp/kept"}],
        ["bash", {"command": "cat /tmp/kept; echo oops >&2; exit 3"}],
    ]
    env = remembering(vf.SandboxEnv)(
        docker_image=IMAGE,
        **SMALL,
        dataset=questions(script, ROLLOUTS),
        rubric=vf.Rubric(funcs=[reward]),
        environment_vars={"N": "value"},
        labels=["rollouts"],
        max_turns=6,
    )
    await env.evaluate(CLIENT, "scripted", num_examples=ROLLOUTS, max_concurrent=ROLLOUTS)
    AsyncSandboxClient.get = original
    assert len(env.states) == ROLLOUTS, len(env.states)
    for state in env.states:
        assert not state.get("error"), state.get("error")
        assert outputs_of(state) == ["first value", "state\nstderr:\noops"], outputs_of(state)
        # One look at the status and it ran: the wait for its creation was the model's first turn, and no other.
        assert looks[state["sandbox_id"]] <= 2, looks
    await env._teardown()
    assert await count("rollouts") == 0


async def evaluate_for_long():
    # Each call holds one of the client's few threads, and only then it sees to an interrupt: so none is long.
    turns = [["bash", {"command": "sleep 3"}]] * 100
    env = vf.SandboxEnv(
        docker_image=IMAGE,
        **SMALL,
        dataset=questions(turns, ROLLOUTS),
        rubric=vf.Rubric(funcs=[reward]),
        labels=["interrupted"],
        max_turns=len(turns),
    )
    await env.evaluate(CLIENT, "scripted", num_examples=ROLLOUTS, max_concurrent=ROLLOUTS)


@check("an evaluation that is interrupted leaves no sandbox")
async def ctrl_c():
    await interrupted("interrupted", sys.executable, __file__, "for long")
    assert await count("interrupted") == 0


@check("a PythonEnv keeps its worker's state between calls, and its death is told")
async def python_env():
    script = [
        ["python", {"code": "value = 41"}],
        ["python", {"code": "value += 1\nprint('now', value)\nvalue"}],
        ["python", {"code": "1 / 0"}],
        ["python", {"code": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"}],
        ["python", {"code": "'never'"}],
    ]
    class Named(remembering(vf.PythonEnv)):
        def get_sandbox_request(self, state):
            request = super().get_sandbox_request(state)
            request.start_command = NAME_PYTHON + request.start_command
            return request

    env = Named(
        pip_install_packages="",
        dataset=questions(script, 1),
        rubric=vf.Rubric(funcs=[reward]),
        labels=["python"],
        timeout_per_command_seconds=10,
        max_turns=10,
    )
    await env.evaluate(CLIENT, "scripted", num_examples=1)
    (state,) = env.states
    texts = outputs_of(state)
    assert "now 42" in texts[1] and "42" in texts[1], texts
    assert "ZeroDivisionError" in texts[2], texts
    # The call that kills the worker times out on its FIFO; the next one finds it dead, which ends the rollout.
    assert "never" not in "".join(texts) and state.get("error") is not None, (texts, state.get("error"))
    await env._teardown()
    assert await count("python") == 0


if sys.argv[1:] == ["for long"]:
    asyncio.run(evaluate_for_long())
else:
    main()
