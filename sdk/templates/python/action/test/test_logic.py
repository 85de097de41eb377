import unittest
from types import SimpleNamespace as Some

from componentize_py_types import Err
from logic import ACTION, Config, line


def task(action, parameters):
    return Some(action=action, parameters=parameters, service=Some(name="web"))


class Announce(unittest.TestCase):
    def test_the_line_is_what_was_asked_for(self):
        self.assertEqual(line(Config(), task(ACTION, '{"text": "hello"}')), "announcement: hello")
        self.assertEqual(line(Config("x"), task(ACTION, "{}")), "x: something is up with web")

    def test_what_it_does_not_do_it_says(self):
        with self.assertRaises(Err):
            line(Config(), task("reboot", "{}"))


if __name__ == "__main__":
    unittest.main()
