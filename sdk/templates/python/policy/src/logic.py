"""Knows one remedy for one condition, and proposes it as long as it was not tried in vain too often. Else it passes, and the
next policy is asked.

It proposes; the guard of heald disposes: cooldowns, budgets and maintenance are no business of a policy.
"""

from dataclasses import dataclass

from wit_world.exports import decide as contract
from wit_world.imports import types


@dataclass
class Config:
    """What the operator may write; config.schema.json says the same to heald, which checks it first."""

    condition: str = "queue-too-long"
    action: str = "restart"
    tries: int = 2

    def problems(self):
        """What no schema can say, each with a JSON Pointer to the place. Empty is good."""
        if self.action == "":
            return [types.Problem("/action", "must name an action, such as restart")]
        return []


def decide(config, question):
    incident, action = question.incident, config.action
    if not incident.concerns or incident.concerns[0].finding.condition != config.condition:
        return passed(f"this policy knows about {config.condition} only")
    mine = [each for each in incident.attempts if each.incident == incident.id and each.action == action]
    in_vain = sum(is_spent(each.ending) for each in mine)
    if in_vain >= config.tries:
        return passed(f"{action} did not help {in_vain} times")
    if not any(offer.action.name == action and offer.blocked is None for offer in question.offers):
        return passed(f"{action} is not to be had now")
    proposal = contract.Proposal(action, parameters="{}", verify_within=None)
    return decision(contract.Choice_Act(proposal), 0.8, f"{action} is known to help against {config.condition}")


def is_spent(ending):
    """Only what was tried and did not help counts, not what is still under way or was withheld."""
    if isinstance(ending, types.Ending_Verified):
        return ending.value in (types.Outcome.NOT_HEALED, types.Outcome.WORSE)
    return isinstance(ending, types.Ending_Failed)


def passed(reason):
    return decision(contract.Choice_Pass(), 1.0, reason)


def decision(choice, confidence, reason):
    return contract.Decision(choice, confidence, reason, considered=[], facts=[], again_in=None, state=None)
