"""Whether the first turn of a model hides the creation of its sandbox: check 24 of the list in docs/prime.md.

Half of the rollouts have a first turn of a second, and half none, in turns. The model's server measures.
"""

import os
import time

import verifiers as vf
from evaluations import CLIENT, SMALL, outputs_of, questions, remembering, reward
from lines import check, main
from prime_sandboxes import AsyncSandboxClient, CreateSandboxRequest

IMAGE = os.environ["IMAGE"]
FIRST_TURN_SECONDS = 1.0
ROLLOUTS = 10


async def start_seconds():
    """How long one start takes, as its user sees it."""
    client = AsyncSandboxClient()
    try:
        began = time.monotonic()
        made = await client.create(CreateSandboxRequest(name="first", docker_image=IMAGE, vm=False, **SMALL))
        await client.wait_for_creation(made.id)
        took = time.monotonic() - began
        await client.delete(made.id)
        return took
    finally:
        await client.aclose()


@check("rollouts whose model thinks for a second, and rollouts whose model does not, run their commands")
async def overlap():
    # A machine on which a start takes longer needs a longer turn to hide it in.
    turn = max(FIRST_TURN_SECONDS, 2 * await start_seconds())
    env = remembering(vf.SandboxEnv)(
        docker_image=IMAGE,
        **SMALL,
        dataset=questions([["bash", {"command": "true"}]] * 2, ROLLOUTS, thinks=lambda n: turn if n % 2 == 0 else 0),
        rubric=vf.Rubric(funcs=[reward]),
        labels=["overlap"],
        max_turns=4,
    )
    # One by one: the client has a thread for each eight of them, and who waits for a sandbox holds one.
    await env.evaluate(CLIENT, "scripted", num_examples=ROLLOUTS, max_concurrent=1)
    assert len(env.states) == ROLLOUTS, len(env.states)
    for state in env.states:
        assert not state.get("error"), state.get("error")
        assert len(outputs_of(state)) == 2, outputs_of(state)
    await env._teardown()


main()
