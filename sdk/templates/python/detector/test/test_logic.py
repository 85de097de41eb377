import unittest
from types import SimpleNamespace as Some

from logic import CONDITION, Config, judge

CONFIG = Config(limit=10, samples=2)


def seen(*lengths, metrics=("queue_length",)):
    samples = [Some(values=[length]) for length in lengths]
    return Some(series=[Some(probe="http", replica=None, metrics=list(metrics), samples=samples)])


class LongQueue(unittest.TestCase):
    def test_a_queue_that_stays_too_long_is_found_and_one_that_recovers_is_not(self):
        self.assertEqual(judge(CONFIG, seen(50.0)), [], "once is not yet")
        (found,) = judge(CONFIG, seen(1.0, 50.0, 60.0))
        self.assertEqual(found.condition, CONDITION)
        self.assertEqual(found.evidence[0].value.value, 60)
        self.assertEqual(judge(CONFIG, seen(50.0, 60.0, 3.0)), [], "it is over")

    def test_a_service_without_the_metric_is_no_business_of_it(self):
        self.assertEqual(judge(CONFIG, seen(50.0, 50.0, metrics=["other"])), [])
        self.assertEqual(judge(CONFIG, seen(50.0, None)), [])

    def test_a_configuration_that_makes_no_sense_is_explained(self):
        self.assertEqual(Config(metric="").problems()[0].at, "/metric")


if __name__ == "__main__":
    unittest.main()
