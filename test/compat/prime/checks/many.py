"""A hundred sandboxes that are waited for, and a list of a thousand: checks 5 and 18 of the list in docs/prime.md."""

import os

import httpx
from harness import check, main, raises, requests

HUNDRED = 100
THOUSAND = 1_000


async def make(count, label):
    """Ids of that many sandboxes with this label, made by one call of the native API."""
    body = {"image": "image", "memoryMb": 16, "count": count, "labels": {label: "", "all": ""}}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {os.environ['PRIME_API_KEY']}"}, timeout=60) as http:
        answer = await http.post(f"{os.environ['PRIME_API_BASE_URL']}/v1/sandboxes", json=body)
    return [each["id"] for each in answer.json()["sandboxes"]]


@check("bulk_wait_for_creation waits for a hundred, with one look at all of them a round")
async def hundred(s):
    ids = await make(HUNDRED, "hundred")
    with requests() as asked:
        await s.client.bulk_wait_for_creation(ids)
    looks = [each for each in asked if each.endswith("status:batchGet")]
    alone = [each for each in asked if each.startswith("GET ")]
    # Of each one its token and a command, and looks at all.
    assert len(looks) <= 10 and alone == [], (looks, alone)
    answer = await s.client.get_sandbox_statuses(ids)
    assert {each.status.value for each in answer.statuses} == {"RUNNING"} and len(answer.statuses) == HUNDRED
    with raises(ValueError):
        await s.client.bulk_wait_for_creation([*ids, "sbx-one-more"])


@check("a thousand are listed page by page: each once, newest first, and none that is not wanted")
async def thousand(s):
    ids = await make(THOUSAND - HUNDRED, "rest")
    seen, page, more = [], 1, True
    while more:
        answer = await s.client.list(labels=["all"], exclude_terminated=True, per_page=100, page=page)
        assert answer.total == THOUSAND, answer.total
        seen, page, more = seen + answer.sandboxes, page + 1, answer.has_next
    assert len({each.id for each in seen}) == len(seen) == THOUSAND and page - 1 == THOUSAND // 100
    times = [each.created_at for each in seen]
    assert times == sorted(times, reverse=True)
    answer = await s.client.bulk_delete(labels=["rest"])
    assert sorted(answer.succeeded) == sorted(ids) and answer.failed == []
    assert (await s.client.list(labels=["all"], exclude_terminated=True)).total == HUNDRED
    await s.client.bulk_delete(labels=["hundred"])


main()
