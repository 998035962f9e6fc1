"""Tasks, and a small agent for them, as a package that the newest `verifiers` finds by its name.

The agent's loop runs beside the evaluation, and each of its commands in the sandbox: so the sandbox needs no network.
"""

import json
import os

import httpx
import verifiers.v1 as vf
from verifiers.v1.harness import Harness
from verifiers.v1.runtimes import ProgramResult

__all__ = ["ScriptedTaskset", "ScriptedAgent"]

TASKS = 2
SCRIPT = [
    ["bash", {"command": "pwd; cat given.txt"}],
    ["bash", {"command": "(cat given.txt; echo) > made.txt; exit 3"}],
]


class ScriptedData(vf.TaskData):
    wanted: str


class ScriptedTask(vf.Task[ScriptedData, vf.State, vf.TaskConfig]):
    async def setup(self, runtime):
        await runtime.write("given.txt", self.data.wanted.encode())

    @vf.reward
    async def made(self, runtime) -> float:
        """What the agent has made in its sandbox, looked at when it is done."""
        return float(await runtime.read("made.txt") == f"{self.data.wanted}\n".encode())


class ScriptedTaskset(vf.Taskset[ScriptedTask, vf.TasksetConfig]):
    def load(self):
        script = json.loads(os.environ.get("SCRIPT", "null")) or SCRIPT
        for n in range(TASKS):
            prompt = json.dumps({"script": script, "n": n})
            yield ScriptedTask(ScriptedData(prompt=prompt, wanted=f"task {n}"), self.config.task)


class ScriptedAgent(Harness):
    APPENDS_SYSTEM_PROMPT = True

    async def launch(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data, tool_interception_url=None):
        messages = [{"role": "user", "content": data.prompt}]
        outputs = []
        async with httpx.AsyncClient(base_url=endpoint, headers={"Authorization": f"Bearer {secret}"}, timeout=120) as model:
            while True:
                answer = await model.post("/chat/completions", json={"model": ctx.model, "messages": messages})
                answer.raise_for_status()
                message = answer.json()["choices"][0]["message"]
                messages.append(message)
                calls = message.get("tool_calls") or []
                if not calls:
                    return ProgramResult(0, "\n".join(outputs), "")
                for call in calls:
                    command = json.loads(call["function"]["arguments"])["command"]
                    done = await runtime.run(["bash", "-c", command], {})
                    outputs.append(f"{done.stdout}[{done.exit_code}]")
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": outputs[-1]})
