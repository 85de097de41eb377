import unittest
from types import SimpleNamespace as Some

from logic import Config, decide
from wit_world.exports import decide as contract
from wit_world.imports import types

IN_VAIN = Some(incident="i", action="restart", ending=types.Ending_Verified(types.Outcome.NOT_HEALED))


def question(condition, *attempts, blocked=None):
    incident = Some(id="i", concerns=[Some(finding=Some(condition=condition))], attempts=list(attempts))
    return Some(incident=incident, offers=[Some(action=Some(name="restart"), blocked=blocked)])


class Remedy(unittest.TestCase):
    def test_the_remedy_is_proposed_until_it_was_tried_in_vain_too_often(self):
        choice = decide(Config(), question("queue-too-long", IN_VAIN)).choice
        self.assertEqual(choice.value.action, "restart")
        choice = decide(Config(), question("queue-too-long", IN_VAIN, IN_VAIN)).choice
        self.assertIsInstance(choice, contract.Choice_Pass)

    def test_another_condition_and_a_blocked_action_are_passed_on(self):
        for each in (question("service-down"), question("queue-too-long", blocked="maintenance")):
            self.assertIsInstance(decide(Config(), each).choice, contract.Choice_Pass)

    def test_a_configuration_that_makes_no_sense_is_explained(self):
        self.assertEqual(Config(action="").problems()[0].at, "/action")


if __name__ == "__main__":
    unittest.main()
