"""The control plane: checks 1 to 6, 8, 13, 16, 17 and 18 of the list in docs/prime.md."""

import asyncio
import os
import uuid

import httpx
from prime_sandboxes import APIError, SandboxImagePullError, UnauthorizedError
from prime_sandboxes import APIClient, AsyncSandboxClient, SandboxClient, SandboxNotRunningError
from harness import VERSION, WIRE, check, main, raises, requests

URL = os.environ["PRIME_API_BASE_URL"]
KEY = os.environ["PRIME_API_KEY"]
BATCHES = os.environ.get("BATCH_ENDPOINTS") != "off"


async def api(method, path, **options):
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        return await http.request(method, f"{URL}/api/v1{path}", **options)


@check("the base URL may end in a slash or in /api/v1, and a wrong key is Unauthorized")
async def base_url(s):
    try:
        for text in (URL, f"{URL}/", f"{URL}/api/v1", f"{URL}/api/v1/"):
            os.environ["PRIME_API_BASE_URL"] = text
            SandboxClient(APIClient()).list(per_page=1)
        with raises(UnauthorizedError):
            SandboxClient(APIClient(api_key="mbx_wrong_key_wrong_key")).list()
    finally:
        os.environ["PRIME_API_BASE_URL"] = URL


@check("create answers with what was asked for, and get shows no secret")
async def create(s):
    made = await s.client.create(s.request(labels=["a", "b=c"], secrets={"TOKEN": "hidden"}, memory_gb=0.5, timeout_minutes=30))
    try:
        assert made.cpu_cores == 1.0 and made.memory_gb == 0.5 and made.timeout_minutes == 30
        assert sorted(made.labels) == ["a", "b=c"]
        assert made.status in ("PENDING", "PROVISIONING", "RUNNING")
        seen = await s.client.get(made.id)
        assert seen.secrets == {"TOKEN": "***"}, seen.secrets
        assert seen.docker_image == made.docker_image and seen.name == "check"
    finally:
        await s.client.delete(made.id)


@check("a create that is sent again with one idempotency key makes one sandbox")
async def idempotency(s):
    body = {"name": "twice", "docker_image": os.environ["IMAGE"], "idempotency_key": uuid.uuid4().hex}
    first, second = await asyncio.gather(api("POST", "/sandbox", json=body), api("POST", "/sandbox", json=body))
    third = await api("POST", "/sandbox", json=body)
    ids = {answer.json()["id"] for answer in (first, second, third)}
    assert len(ids) == 1, ids
    other = await api("POST", "/sandbox", json={**body, "name": "other"})
    assert other.status_code == 409 and "detail" in other.json(), other.text
    await s.client.delete(ids.pop())


@check("a create whose answer was lost is sent again by the client, and makes one sandbox")
async def answer_lost(s):
    label = f"lost-{uuid.uuid4().hex[:8]}"
    original = httpx.AsyncClient.send
    sent = []

    async def send(self, request, **options):
        answer = await original(self, request, **options)
        if request.method == "POST" and request.url.path.endswith("/sandbox"):
            sent.append(answer.json()["id"])
            if len(sent) == 1:
                raise httpx.ReadError("the connection broke", request=request)
        return answer

    httpx.AsyncClient.send = send
    try:
        made = await s.client.create(s.request(labels=[label]))
    finally:
        httpx.AsyncClient.send = original
    assert sent == [made.id, made.id], (sent, made.id)
    assert (await s.client.list(labels=[label])).total == 1
    await s.client.delete(made.id)


@check("wait_for_creation asks for the status once, a token once and one command, and never for the sandbox")
async def few_calls(s):
    async def running():
        return (await s.client.get(made.id)).status == "RUNNING"

    made = await s.client.create(s.request())
    await s.until(running)
    with requests() as asked:
        await s.client.wait_for_creation(made.id)
    await s.client.delete(made.id)
    seen = [f"{method} {path.split('/')[-1]}" for method, path in (each.split() for each in asked)]
    if VERSION >= (0, 2, 38) and BATCHES:
        assert seen[:2] == ["POST status:batchGet", "POST auth"], seen
        assert len(seen) == (3 if WIRE == "json" else 2), seen
    else:
        assert [each for each in seen if "batchGet" not in each] == [f"GET {made.id}", "POST auth", "POST exec"], seen


@check("bulk_wait_for_creation waits for many at once")
async def bulk_wait(s):
    made = await asyncio.gather(*(s.client.create(s.request(labels=["bulk"])) for _ in range(6)))
    ids = [each.id for each in made]
    await s.client.bulk_wait_for_creation(ids)
    if VERSION >= (0, 2, 38) and BATCHES:
        answer = await s.client.get_sandbox_statuses(ids)
        assert {each.status.value for each in answer.statuses} == {"RUNNING"} and answer.errors == []
        unknown = await s.client.get_sandbox_statuses(["sbx-00000000000000000000"])
        assert unknown.errors[0].code == "NOT_FOUND", unknown
        with raises(ValueError):
            await s.client.get_sandbox_statuses([f"x{i}" for i in range(101)])
    await s.client.bulk_delete(sandbox_ids=ids)


@check("an image that does not exist is an image pull error with a reason")
async def bad_image(s):
    made = await s.client.create(s.request(docker_image="127.0.0.1:1/no/such:image"))
    with raises(SandboxImagePullError) as raised:
        await s.client.wait_for_creation(made.id)
    answer = (await api("GET", f"/sandbox/{made.id}/error-context")).json()
    assert answer["errorType"] == "IMAGE_PULL_FAILED" and answer["errorMessage"], answer
    assert answer["errorMessage"] in str(raised[0]), (answer, raised)


@check("image names are rewritten by the operator's map, and what is not on the operator's list is refused")
async def image_names(s):
    for asked in os.environ["SHORT_NAMES"].split():
        sandbox = await s.create(docker_image=asked)
        assert (await s.run("echo from it", sandbox)).stdout == "from it\n"
        assert (await s.client.get(sandbox)).docker_image == asked
        await s.client.delete(sandbox)
        answer = (await api("POST", "/template/check-docker-image", json={"image": asked})).json()
        assert answer["accessible"] is True, answer
    with raises(APIError, "not on this server's list of allowed images") as raised:
        await s.client.create(s.request(docker_image="elsewhere.example/evil:latest", labels=["evil"]))
    assert str(raised[0]).startswith("HTTP 403"), raised
    assert (await s.client.list(labels=["evil"])).total == 0


@check("environment variables and secrets reach commands, with every character")
async def environment(s):
    odd = "two words 'single' \"double\" $HOME\nsecond line"
    sandbox = await s.create(environment_vars={"PLAIN": odd}, secrets={"SECRET": "s3cret"})
    answer = await s.run('printf "%s|%s|%s" "$PLAIN" "$SECRET" "$OWN"', sandbox, env={"OWN": odd})
    assert answer.stdout == f"{odd}|s3cret|{odd}", answer.stdout
    await s.client.delete(sandbox)


@check("a token that was revoked is fetched anew, once, by itself")
async def token(s):
    await s.run("true")
    path = os.path.expanduser("~/.prime/sandbox_auth_cache.json")
    fresh = AsyncSandboxClient()
    try:
        await fresh.execute_command(s.sandbox, "true")
        for cache in (fresh._auth_cache,):
            for entry in cache._auth_cache.values():
                entry["token"] = "revoked.revoked"
        answer = await fresh.execute_command(s.sandbox, "echo again")
        assert answer.stdout == "again\n"
    finally:
        await fresh.aclose()
    assert os.path.exists(path)
    auth = (await api("POST", f"/sandbox/{s.sandbox}/auth")).json()
    elsewhere = await api("POST", "/sandbox", json={"name": "x", "docker_image": os.environ["IMAGE"]})
    other = elsewhere.json()["id"]
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            f"{auth['gateway_url']}/{auth['user_ns']}/{other}/exec",
            json={"command": "true"},
            headers={"Authorization": f"Bearer {auth['token']}"},
        )
    assert answer.status_code == 401, answer.text
    await s.client.delete(other)


@check("delete wins over a create under way, may be repeated, and of an unknown id is a 404")
async def deletion(s):
    made = await s.client.create(s.request(docker_image="127.0.0.1:1/never/there:1"))
    await s.client.delete(made.id)
    await s.client.delete(made.id)
    assert (await s.client.get(made.id)).status in ("TERMINATED", "ERROR")
    sandbox = await s.create()
    await s.client.delete(sandbox)
    await s.client.delete(sandbox)
    assert (await s.client.get(sandbox)).status == "TERMINATED"
    with raises(APIError, "HTTP 404"):
        await s.client.delete("sbx-00000000000000000000")
    with raises(SandboxNotRunningError):
        await s.run("true", sandbox)


@check("bulk_delete by label takes only what has the label")
async def bulk_delete(s):
    label = f"label-{uuid.uuid4().hex[:8]}"
    mine = [(await s.client.create(s.request(labels=[label]))).id for _ in range(2)]
    other = (await s.client.create(s.request(labels=["other"]))).id
    answer = await s.client.bulk_delete(labels=[label])
    assert sorted(answer.succeeded) == sorted(mine) and answer.failed == [], answer
    assert (await s.client.get(other)).status in ("PENDING", "PROVISIONING", "RUNNING")
    answer = await s.client.bulk_delete(sandbox_ids=[other, "sbx-00000000000000000000"])
    assert answer.succeeded == [other] and len(answer.failed) == 1, answer


@check("list pages by label, and can leave out what has ended")
async def listing(s):
    label = f"page-{uuid.uuid4().hex[:8]}"
    ids = [(await s.client.create(s.request(labels=[label]))).id for _ in range(5)]
    await s.client.delete(ids[0])
    found = []
    for page, more in ((1, True), (2, False)):
        answer = await s.client.list(labels=[label], exclude_terminated=True, per_page=2, page=page)
        assert answer.total == 4 and answer.has_next is more and answer.per_page == 2, answer
        found += [each.id for each in answer.sandboxes]
    assert sorted(found) == sorted(ids[1:]), found
    assert (await s.client.list(labels=[label])).total == 5
    await s.client.bulk_delete(sandbox_ids=ids)


@check("what this server cannot do is refused, with a reason, in JSON")
async def refusals(s):
    base = {"name": "refused", "docker_image": os.environ["IMAGE"]}
    for fields in ({"gpu_count": 1, "gpu_type": "H100_80GB"}, {"checkpoint_id": "c"}, {"volumes": [{"name": "v"}]}):
        answer = await api("POST", "/sandbox", json={**base, **fields})
        assert answer.status_code == 501 and answer.json()["detail"], answer.text
    for method, path in (
        ("GET", "/images"),
        ("POST", "/tunnel"),
        ("POST", f"/sandbox/{s.sandbox}/checkpoints"),
        ("GET", "/sandbox/networks"),
    ):
        answer = await api(method, path)
        assert answer.status_code in (404, 501) and answer.json()["detail"], (path, answer.text)
    answer = await api("POST", f"/sandbox/{s.sandbox}/ssh-session", json={"public_key": "ssh-ed25519 AAAA"})
    assert answer.status_code == 501 and "prime sandbox run" in answer.json()["detail"], answer.text
    answer = await api("POST", "/sandbox", content=b"{nonsense", headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and answer.json()["detail"], answer.text


@check("the network is open or closed as asked when it is made, and nothing else is pretended")
async def egress(s):
    answer = await api("GET", f"/sandbox/{s.sandbox}/egress-policy")
    assert answer.json()["applied"] is True, answer.text
    closed = {"name": "closed", "docker_image": os.environ["IMAGE"], "network_allowlist": []}
    made = (await api("POST", "/sandbox", json=closed)).json()
    assert made["networkAllowlist"] == []
    policy = (await api("GET", f"/sandbox/{made['id']}/egress-policy")).json()
    assert policy["policy"] == {"allowlist": [], "denylist": None} and policy["applied"] is True
    same = await api("PUT", f"/sandbox/{made['id']}/egress-policy", json={"allowlist": [], "denylist": None})
    assert same.status_code == 200
    for lists in ({"allowlist": None, "denylist": []}, {"allowlist": ["pypi.org"], "denylist": None}):
        answer = await api("PUT", f"/sandbox/{made['id']}/egress-policy", json=lists)
        assert answer.status_code == 501 and answer.json()["detail"], answer.text
    refused = await api("POST", "/sandbox", json={**closed, "network_allowlist": ["pypi.org"]})
    assert refused.status_code == 501, refused.text
    await s.client.delete(made["id"])


@check("the logs are what the start command has written")
async def logs(s):
    body = {"name": "logs", "docker_image": os.environ["IMAGE"], "vm": False}
    script = "echo from the start command; echo and from its stderr >&2; sleep 600"
    made = (await api("POST", "/sandbox", json={**body, "start_command": script})).json()

    async def written():
        text = await s.client.get_logs(made["id"])
        return "from the start command\n" in text and "its stderr" in text

    await s.until(written)
    await s.client.delete(made["id"])
    assert await s.client.get_logs(s.sandbox) == ""


@check("a port that is exposed is reached at its address, until it is taken back")
async def expose(s):
    server = "cd /tmp && echo from inside > page.txt && exec python3 -m http.server 8123 --bind 127.0.0.1"
    await s.run(f"nohup sh -c '{server}' > /dev/null 2>&1 &")
    exposed = (await api("POST", f"/sandbox/{s.sandbox}/expose", json={"port": 8123, "name": "web"})).json()
    async with httpx.AsyncClient(timeout=60) as http:

        async def answers():
            answer = await http.get(f"{exposed['url']}/page.txt")
            return answer.status_code == 200 and answer.text == "from inside\n"

        await s.until(answers)
        assert (await http.get(exposed["url"].replace("/exposed/", "/exposed/x"))).status_code == 404
        if WIRE == "json":
            listed = await s.client.list_exposed_ports(s.sandbox)
            assert [each.exposure_id for each in listed.exposures] == [exposed["exposure_id"]], listed
            again = await s.client.expose(s.sandbox, 8123)
            await s.client.unexpose(s.sandbox, again.exposure_id)
            assert len((await s.client.list_all_exposed_ports()).exposures) >= 1
        gone = await api("DELETE", f"/sandbox/{s.sandbox}/expose/{exposed['exposure_id']}")
        assert gone.status_code == 200 and gone.json() == {"success": True}
        assert (await http.get(f"{exposed['url']}/page.txt")).status_code == 404


@check("a port that is exposed for TCP takes connections, until it is taken back or its sandbox has ended")
async def expose_tcp(s):
    sandbox = await s.create()
    server = "import socket as s; l = s.create_server(('127.0.0.1', 8124)); c = l.accept\nwhile 1: a = c()[0]; a.sendall(a.recv(9)[::-1]); a.close()"
    await s.run(f'nohup python3 -c "{server}" > /dev/null 2>&1 &', sandbox)

    async def expose():
        if WIRE == "json":
            made = await s.client.expose(sandbox, 8124, name="echo", protocol="TCP")
            return made.exposure_id, made.external_endpoint, made.external_port
        made = (await api("POST", f"/sandbox/{sandbox}/expose", json={"port": 8124, "protocol": "TCP"})).json()
        return made["exposure_id"], made["external_endpoint"], made["external_port"]

    async def ask(port):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            return answer
        except OSError as error:
            return type(error).__name__

    exposure, endpoint, port = await expose()
    assert endpoint == f"127.0.0.1:{port}", endpoint

    async def answers():
        return await ask(port) == b"olleh"

    await s.until(answers)
    assert (await api("DELETE", f"/sandbox/{sandbox}/expose/{exposure}")).status_code == 200
    assert await ask(port) == "ConnectionRefusedError"
    _, _, second = await expose()
    assert await ask(second) == b"olleh"
    await s.client.delete(sandbox)
    assert await ask(second) == "ConnectionRefusedError"
    late = await api("POST", f"/sandbox/{sandbox}/expose", json={"port": 8124, "protocol": "TCP"})
    assert late.status_code == 409 and late.json()["detail"], late.text


main()
