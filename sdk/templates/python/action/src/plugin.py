"""What heald calls: the world `action` of wit/plugin.wit."""

import json

from componentize_py_types import Err
from logic import INFO, Config, line
from wit_world import exports
from wit_world.exports import act
from wit_world.imports import log, types


class Act(exports.Act):
    # Of the class: each call is made on a new object.
    config = Config()

    def configure(self, config):
        """Once for each instance, before anything else. heald has checked it against config.schema.json."""
        Act.config = Config(**json.loads(config))

    def describe(self):
        """The actions it offers."""
        return [INFO]

    def check(self, input):
        """What would be done, without doing it: the dry run."""
        return act.Plan(f"would write `{line(self.config, input)}`", facts=[])

    def perform(self, input):
        """Does it. `input.attempt` is the same if heald, after a crash, asks for the same attempt again."""
        text = line(self.config, input)
        log.write(log.Level.INFO, text, [])
        # Nothing was changed. An action that can be undone answers with `undo`: all that undoing needs, as bytes.
        return act.Receipt(f"wrote `{text}`", changed=False, facts=[], undo=None)

    def undo(self, input, token):
        raise Err(types.Error_Unsupported(f"{input.action} cannot be undone"))
