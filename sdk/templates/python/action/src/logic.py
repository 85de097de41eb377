"""The action `announce`: writes a line into the log of heald. It changes nothing, so it is safe to play with.

An action is only performed once the guard of heald has permitted it. What it says afterwards is a claim: whether the service
is well again, heald finds out by probing it.
"""

import json
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.imports import types

ACTION = "announce"

# The JSON Schema of its parameters. heald checks them before it calls.
PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"text": {"type": "string", "maxLength": 500}},
}

INFO = types.ActionInfo(
    name=ACTION,
    summary="writes a line into the log",
    parameters=json.dumps(PARAMETERS),
    # A message touches no service: it costs no budget, and there is nothing to verify.
    disruptive=False,
    undoable=False,
    facts=[],
)


@dataclass
class Config:
    """What the operator may write; config.schema.json says the same to heald, which checks it first."""

    prefix: str = "announcement"


def line(config, task):
    """The line that this task asks for."""
    if task.action != ACTION:
        raise Err(types.Error_Unsupported(f"{task.action} is not what this plug-in does"))
    text = json.loads(task.parameters).get("text", f"something is up with {task.service.name}")
    return f"{config.prefix}: {text}"
