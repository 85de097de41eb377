"""Finds queues that are too long: a custom metric that was beyond a limit in several samples in a row.

It remembers nothing. It asks heald for the last few samples at every call instead, so a restart of heald loses nothing.
"""

from dataclasses import dataclass

from wit_world.imports import types

# The name under which heald knows what is found. Keep numbers out of it: it is what incidents are told apart by.
CONDITION = "queue-too-long"


@dataclass
class Config:
    """What the operator may write; config.schema.json says the same to heald, which checks it first."""

    metric: str = "queue_length"
    limit: float = 100
    samples: int = 3

    def problems(self):
        """What no schema can say, each with a JSON Pointer to the place. Empty is good."""
        if self.metric == "":
            return [types.Problem("/metric", "must name a metric, such as queue_length")]
        return []


def judge(config, observation):
    """Every finding that holds now. One that is left out is over."""
    findings = {}
    for series in observation.series:
        row = newest(config, series)
        if len(row) < config.samples or min(row) <= config.limit:
            continue
        subject = series.replica or series.probe
        # Two probes may watch the same queue: (condition, subject) is a finding's identity, and stands once in an answer.
        findings[subject] = finding(config, subject, row[0])
    return list(findings.values())


def newest(config, series):
    """The metric in the newest samples, newest first. A sample without it ends the row: not measured is not too long."""
    row = []
    if config.metric in series.metrics:
        place = series.metrics.index(config.metric)
        for sample in reversed(series.samples[-config.samples :]):
            if sample.values[place] is None:
                break
            row.append(sample.values[place])
    return row


def finding(config, subject, length):
    def number(name, value):
        return types.Fact(name, types.Scalar_Number(float(value)))

    return types.Finding(
        condition=CONDITION,
        subject=subject,
        severity=types.Severity.ERROR,
        score=1.0,
        predicted=None,
        message=f"the queue is {length:g} long, more than {config.limit:g} for {config.samples} samples",
        # Evidence in this form is what rules and people can compare: the value, and beside it the limit.
        evidence=[number(config.metric, length), number(f"{config.metric}.limit", config.limit)],
    )
