"""Rollouts whose tokens end every few seconds: check 13 of the list in docs/prime.md."""

import asyncio
from collections import Counter

from harness import check, main, requests

ROLLOUTS = 64
COMMANDS = 8
SPACING_SECONDS = 0.5


async def rollout(s, sandbox, done):
    for n in range(COMMANDS):
        assert (await s.run(f"echo {n}", sandbox)).stdout == f"{n}\n"
        done[sandbox] += 1
        await asyncio.sleep(SPACING_SECONDS)


async def revoke(client, done):
    """Over and over, the tokens that the client holds are worth nothing any more: once in a command, which is tried once more."""
    revoked = {}
    while True:
        await asyncio.sleep(1.3)
        for sandbox, entry in client._auth_cache._auth_cache.items():
            if revoked.get(sandbox) != done[sandbox]:
                revoked[sandbox] = done[sandbox]
                entry["token"] = "revoked.revoked"


@check("64 rollouts whose tokens end every few moments, or at once, go on, and none fails")
async def renewed(s):
    made = await asyncio.gather(*(s.client.create(s.request(memory_gb=1 / 64, labels=["tokens"])) for _ in range(ROLLOUTS)))
    await s.client.bulk_wait_for_creation([each.id for each in made])
    done = Counter()
    for also in ([], [revoke(s.client, done)]):
        revoking = [asyncio.create_task(each) for each in also]
        with requests() as asked:
            await asyncio.gather(*(rollout(s, each.id, done) for each in made))
        for each in revoking:
            each.cancel()
        renewals = len([each for each in asked if each.endswith("/auth")])
        assert renewals >= 2 * ROLLOUTS, renewals
    await s.client.bulk_delete(labels=["tokens"])


main()
