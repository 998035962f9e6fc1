"""Rollouts whose tokens end every few seconds: check 13 of the list in docs/prime.md."""

import asyncio
from collections import Counter

from harness import check, main, requests

ROLLOUTS = 64
COMMANDS = 8
SPACING_SECONDS = 0.5


async def rollout(s, sandbox, begun, done):
    for n in range(COMMANDS):
        begun[sandbox] += 1
        assert (await s.run(f"echo {n}", sandbox)).stdout == f"{n}\n"
        done[sandbox] += 1
        await asyncio.sleep(SPACING_SECONDS)


async def revoke(client, begun, done):
    """Over and over, the tokens that the client holds are worth nothing any more. A command is tried once more, so each may
    meet one such token: it is for the command in hand or, if that has shown its token already, for the next, and until
    that has ended there is no other."""
    revoked = {}
    while True:
        await asyncio.sleep(1.3)
        for sandbox, entry in client._auth_cache._auth_cache.items():
            if done[sandbox] > revoked.get(sandbox, -1):
                revoked[sandbox] = begun[sandbox]
                entry["token"] = "revoked.revoked"


@check("64 rollouts whose tokens end every few moments, or at once, go on, and none fails")
async def renewed(s):
    made = await asyncio.gather(*(s.client.create(s.request(memory_gb=1 / 64, labels=["tokens"])) for _ in range(ROLLOUTS)))
    await s.client.bulk_wait_for_creation([each.id for each in made])
    begun, done = Counter(), Counter()
    for also in ([], [revoke(s.client, begun, done)]):
        revoking = [asyncio.create_task(each) for each in also]
        with requests() as asked:
            await asyncio.gather(*(rollout(s, each.id, begun, done) for each in made))
        for each in revoking:
            each.cancel()
        renewals = len([each for each in asked if each.endswith("/auth")])
        assert renewals >= 2 * ROLLOUTS, renewals
    await s.client.bulk_delete(labels=["tokens"])


main()
