"""What heald calls: the world `policy` of wit/plugin.wit."""

import json

from componentize_py_types import Err
from logic import Config, decide
from wit_world import exports
from wit_world.exports import decide as contract
from wit_world.imports import log, types


class Decide(exports.Decide):
    # Of the class: each call is made on a new object.
    config = Config()

    def configure(self, config):
        """Once for each instance, before anything else. heald has checked it against config.schema.json."""
        Decide.config = Config(**json.loads(config))
        problems = self.config.problems()
        if problems:
            raise Err(types.Error_BadConfig(problems))

    def describe(self):
        """The actions it may ask for, and the window it wants: the newest sample is enough."""
        return contract.About([self.config.action], types.Window(1, 0, types.WindowMode.NEWS), [])

    def decide(self, input):
        decision = decide(self.config, input)
        log.write(log.Level.DEBUG, decision.reason, [])
        return decision
