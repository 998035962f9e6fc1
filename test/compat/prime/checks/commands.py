"""Commands, files and jobs: checks 7 to 12, 14 and 21 of the list in docs/prime.md."""

import asyncio
import os
import time
import uuid

from prime_sandboxes import (
    APIError,
    CommandTimeoutError,
    SandboxFileNotFoundError,
    SandboxFileTooLargeError,
    SandboxOOMError,
)
from harness import VERSION, WIRE, check, main, raises, requests

MIB = 1024 * 1024


def path(name=""):
    return f"/tmp/check-{uuid.uuid4().hex[:8]}/{name}"


@check("stdout, stderr and the exit code are kept apart and whole")
async def basics(s):
    answer = await s.run("echo out; echo err >&2; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == ("out\n", "err\n", 3), answer
    for code in (0, 1, 2, 127):
        assert (await s.run(f"exit {code}")).exit_code == code
    text = "it's \"quoted\" $HOME \\ `tick`\n  second\n"
    answer = await s.run(f"cat <<'END'\n{text}END")
    assert answer.stdout == text, answer.stdout
    answer = await s.run("printf 'a\\377b'")
    assert answer.stdout == "a\ufffdb", answer.stdout
    assert (await s.run("kill -TERM $$")).exit_code == 143


@check("large output arrives whole, and no character is cut in two")
async def large(s):
    answer = await s.run(f"head -c {MIB} /dev/zero | tr '\\0' x")
    assert answer.stdout == "x" * MIB
    program = "import sys; sys.stdout.write('ä€😀' * 300000)"
    answer = await s.run(f'python3 -c "{program}"')
    assert answer.stdout == "ä€😀" * 300_000
    if WIRE != "json":
        answer = await s.run(f"head -c {10 * MIB} /dev/zero | tr '\\0' y")
        assert answer.stdout == "y" * 10 * MIB


@check("a command may be longer than one argument can be")
async def long_command(s):
    filler = "x" * 300_000
    answer = await s.run(f"echo start; : {filler}; echo end")
    assert answer.stdout == "start\nend\n", answer.stdout[:100]


@check("working directory, environment and user are honoured")
async def where(s):
    answer = await s.run("pwd; echo $A", working_dir="/usr/lib", env={"A": "x 'y' \"z\""})
    assert answer.stdout == "/usr/lib\nx 'y' \"z\"\n", answer.stdout
    if VERSION < (0, 2, 29) or (WIRE == "connect" and VERSION < (0, 3)):
        return
    assert (await s.run("id -un", user="nobody")).stdout == "nobody\n"


@check("a command that takes too long is killed and told in time, and the sandbox goes on")
async def deadline(s):
    began = time.monotonic()
    with raises(CommandTimeoutError):
        await s.run("sleep 31 & sleep 31", timeout=2)
    assert time.monotonic() - began < 60
    looking = "ls -l /proc/[0-9]*/exe >/dev/null 2>&1; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"

    async def gone():
        return "sleep 31" not in (await s.run(looking)).stdout

    await s.until(gone)
    assert (await s.run("echo alive")).stdout == "alive\n"


@check("a deadline need not be a whole number of seconds, and may be a month or years away")
async def odd_deadlines(s):
    for timeout in (10.0, 10.5, 30 * 86_400, 10**8):
        assert (await s.run("echo in time", timeout=timeout)).stdout == "in time\n"
    with raises(CommandTimeoutError):
        await s.run("sleep 605", timeout=0.5)


@check("a process in the background does not hold up its command, and lives on")
async def background(s):
    mark = path("alive")
    began = time.monotonic()
    command = f"mkdir -p $(dirname {mark}); (sleep 1; echo yes > {mark}) > /dev/null 2>&1 &"
    await s.run(command)
    assert time.monotonic() - began < 60

    async def written():
        return (await s.run(f"cat {mark} 2>/dev/null")).stdout == "yes\n"

    await s.until(written)


@check("a job runs on after the call that started it, and its exit and output can be fetched")
async def jobs(s):
    go = path("go")
    script = f"mkdir -p $(dirname {go}); while [ ! -e {go} ]; do sleep 0.1; done; echo done; echo oops >&2; exit 5"
    job = await s.client.start_background_job(s.sandbox, script)
    status = await s.client.get_background_job(s.sandbox, job)
    assert status.completed is False, status

    async def started():
        return (await s.run(f"touch {go}")).exit_code == 0

    async def completed():
        nonlocal status
        status = await s.client.get_background_job(s.sandbox, job)
        return status.completed

    await s.until(started)
    await s.until(completed)
    assert (status.exit_code, status.stdout, status.stderr) == (5, "done\n", "oops\n"), status
    if VERSION >= (0, 2, 38) and WIRE != "json":
        answer = await s.client.get_background_jobs([job])
        assert len(answer) == 1, answer
    result = await s.client.run_background_job(s.sandbox, "echo ran; exit 4", timeout=60, poll_interval=1)
    assert (result.exit_code, result.stdout) == (4, "ran\n"), result


@check("of a job with much output the last 10 MiB come, and it is said that there was more")
async def much(s):
    command = f"head -c {28 * MIB} /dev/zero | tr '\\0' a; echo; echo last"
    result = await s.client.run_background_job(s.sandbox, command, timeout=90, poll_interval=1)
    assert result.exit_code == 0 and result.stdout_truncated is True, result.exit_code
    assert result.stdout.endswith("a\nlast\n") and len(result.stdout) == 10 * MIB, len(result.stdout)


@check("every byte survives an upload and a download, into a directory that was not there")
async def files(s):
    name = path("new/dir/bytes.bin")
    data = bytes(range(256)) * 4096
    answer = await s.client.upload_bytes(s.sandbox, name, data, "bytes.bin")
    assert answer.success and answer.path == name and answer.size == len(data), answer
    local = f"{os.environ['HOME']}/{uuid.uuid4().hex}"
    await s.client.download_file(s.sandbox, name, local)
    with open(local, "rb") as file:
        assert file.read() == data
    answer = await s.client.upload_bytes(s.sandbox, name, b"", "empty")
    assert answer.size == 0
    assert (await s.run(f"stat -c %s {name}")).stdout == "0\n"
    with open(local, "wb") as file:
        file.write(b"z" * (20 * MIB))
    await s.client.upload_file(s.sandbox, name, local)
    assert (await s.run(f"stat -c %s {name}")).stdout == f"{20 * MIB}\n"


@check("a file is read whole up to 10 MiB, and in windows beyond")
async def windows(s):
    name = path("text")
    await s.client.upload_bytes(s.sandbox, name, b"0123456789" * 10, "text")
    whole = await s.client.read_file(s.sandbox, name)
    assert whole.content == "0123456789" * 10 and whole.size == 100
    with raises(SandboxFileNotFoundError):
        await s.client.read_file(s.sandbox, f"{name}.not")
    await s.run(f"head -c {11 * MIB} /dev/zero | tr '\\0' b > {name}; printf END >> {name}")
    with raises(SandboxFileTooLargeError):
        await s.client.read_file(s.sandbox, name)
    last = await s.client.read_file(s.sandbox, name, offset=-10, length=10)
    assert last.content == "bbbbbbbEND" and last.truncated is True, last
    assert last.total_size == 11 * MIB + 3 and last.offset == 11 * MIB - 7, last
    first = await s.client.read_file(s.sandbox, name, offset=0, length=4)
    assert first.content == "bbbb" and first.size == 4, first


@check("a file that cannot be had is an error at once, and is not tried again for seconds")
async def missing(s):
    local = f"{os.environ['HOME']}/{uuid.uuid4().hex}"
    await s.run("true")
    with requests() as asked:
        with raises(APIError, "404"):
            await s.client.download_file(s.sandbox, "/no/such/file", local)
    assert len([each for each in asked if each.endswith("/download")]) == 1, asked
    with raises(APIError):
        await s.client.download_file(s.sandbox, "/etc", local)
    with raises(APIError):
        await s.client.upload_bytes(s.sandbox, "/etc", b"x", "x")


@check("commands in one sandbox run at the same time")
async def parallel(s):
    meet = path()
    command = f"mkdir -p {meet}; touch {meet}$N; until [ $(ls {meet} | wc -l) -ge 8 ]; do sleep 0.05; done; echo $N"
    answers = await asyncio.gather(*(s.run(command, env={"N": str(n)}, timeout=90) for n in range(8)))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(8)]


@check("a process that takes more memory than there is dies, is told so by its exit, and the sandbox goes on")
async def memory(s):
    sandbox = await s.create(memory_gb=0.125)
    answer = await s.run('python3 -c "x = bytearray(400 * 1024 * 1024)"', sandbox)
    assert answer.exit_code == 137, answer
    assert (await s.run("echo alive", sandbox)).stdout == "alive\n"
    await s.client.delete(sandbox)


@check("a sandbox that itself dies of memory is an OOM error to the command under way and to all after, also when deleted")
async def sandbox_memory(s):
    # The kernel takes programs first, unless they give that up, as these do. What the sandbox's own first process keeps of
    # the output is its memory; a file in memory is no process's. So it is the largest when there is no more.
    sandbox = await s.create(memory_gb=1 / 32)
    score = "/proc/$$/oom_score_adj"
    equal = f'until [ "$(cat {score})" = 1000 ]; do :; done; echo 0 >{score}'
    fill = f"head -c {8 * MIB} /dev/zero | tr '\\0' a; exec dd if=/dev/zero of=/dev/shm/fill bs=4k"
    with raises(SandboxOOMError):
        await s.run(f"{equal}; {fill}", sandbox)

    async def told():
        with raises(SandboxOOMError):
            await s.run("echo alive", sandbox)
        with raises(SandboxOOMError):
            await s.client.wait_for_creation(sandbox)
        with raises(SandboxOOMError):
            await s.client.start_background_job(sandbox, "true")
        seen = await s.client.get(sandbox)
        assert (seen.status, seen.error_type) == ("ERROR", "OOM_KILLED"), seen

    await told()
    await s.client.delete(sandbox)
    await told()


@check("an image without bash runs commands, jobs and their exit codes all the same")
async def without_bash(s):
    sandbox = await s.create()
    await s.run("rm -f /bin/bash /usr/bin/bash", sandbox)
    answer = await s.run("command -v bash || echo none; exit 6", sandbox)
    assert (answer.stdout, answer.exit_code) == ("none\n", 6), answer
    result = await s.client.run_background_job(sandbox, "echo ran; exit 4", timeout=60, poll_interval=1)
    assert (result.exit_code, result.stdout) == (4, "ran\n"), result
    await s.client.delete(sandbox)


main()
