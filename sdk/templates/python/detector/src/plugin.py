"""What heald calls: the world `detector` of wit/plugin.wit."""

import json

from componentize_py_types import Err
from logic import CONDITION, Config, judge
from wit_world import exports
from wit_world.exports import detect
from wit_world.imports import log, types


class Detect(exports.Detect):
    # Of the class: each call is made on a new object.
    config = Config()

    def configure(self, config):
        """Once for each instance, before anything else. heald has checked it against config.schema.json."""
        Detect.config = Config(**json.loads(config))
        problems = self.config.problems()
        if problems:
            raise Err(types.Error_BadConfig(problems))

    def describe(self):
        """What it may report, and the window it wants. Sliding: the newest samples at every call, seen before or not."""
        window = types.Window(self.config.samples, 0, types.WindowMode.SLIDING)
        return detect.About([CONDITION], window, [])

    def evaluate(self, input):
        findings = judge(self.config, input)
        for each in findings:
            log.write(log.Level.DEBUG, each.message, [])
        # `state`: bytes that heald keeps and hands back at the next call of this service.
        return detect.Verdict(findings, gauges=[], state=None)
