"""What evaluations of `verifiers` have in common.

The model is a scripted server (MODEL_URL); sandboxes, tools and rollouts are the package's own.
"""

import json
import os

from datasets import Dataset
from verifiers.types import ClientConfig

# So that many of them fit on a small machine at once.
SMALL = {"memory_gb": 0.1}
CLIENT = ClientConfig(api_base_url=os.environ["MODEL_URL"], api_key_var="PRIME_API_KEY")


def questions(script, count, thinks=None):
    """Each row's question is what the scripted model will do, in turns of tool calls.

    The row n has a first turn of `thinks(n)` seconds; without, the model decides.
    """
    rows = []
    for n in range(count):
        first = {} if thinks is None else {"thinksMs": round(thinks(n) * 1000)}
        rows.append({"question": json.dumps({"script": script, "n": n, **first}), "answer": str(n)})
    return Dataset.from_list(rows)


def outputs_of(state):
    """What the tools answered, in order."""
    messages = [message for step in state["trajectory"] for message in step["prompt"] + step["completion"]]
    seen, texts = set(), []
    for message in messages:
        get = message.get if isinstance(message, dict) else lambda key: getattr(message, key, None)
        if get("role") == "tool" and get("tool_call_id") not in seen:
            seen.add(get("tool_call_id"))
            texts.append(str(get("content")))
    return texts


def remembering(base):
    class Remembering(base):
        def __init__(self, **options):
            self.states = []
            super().__init__(**options)

        async def post_rollout(self, state):
            self.states.append(state)

    return Remembering


async def reward(**_):
    return 1.0
