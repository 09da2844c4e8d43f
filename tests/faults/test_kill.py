# SPDX-License-Identifier: MIT
"""kill -9 of every process in the middle of a stream of work: every acknowledged task ends exactly once, as its
owner was told, and none is stuck."""
import os
import signal
import time

import pytest

from stream import Stream

QUICK = {"TASK_LEASE": 2, "AGENT_ASSIGNMENT_TIMEOUT": 2}


@pytest.mark.parametrize("part", ["api", "scheduler", "redis", "web"])
def test_killed_and_started_again(new_panel, part):
    panel = new_panel(**QUICK)
    with Stream(panel) as stream:
        for _ in range(2):
            panel.kill(part)
            time.sleep(0.5)
            panel.start(part)
            assert stream.wait_for_flow(20) < 15
    assert stream.check() > 50


def test_killed_workers_are_replaced(new_panel):
    """mcp-api's workers, both pools, while their master lives: nobody has to do anything."""
    panel = new_panel(**QUICK)
    with Stream(panel) as stream:
        for _ in range(3):
            before = panel.children("api")
            assert before
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            panel.wait_for(lambda: len(panel.children("api")) == len(before) and
                           not set(before) & set(panel.children("api")), 10, "new workers")
            assert stream.wait_for_flow(20) < 10
    assert stream.check() > 50


def test_everything_at_once(new_panel):
    """As in a power cut of the machine, less the lost page cache."""
    panel = new_panel(**QUICK)
    with Stream(panel) as stream:
        for part in ("scheduler", "web", "redis", "api"):
            panel.kill(part)
        time.sleep(0.5)
        panel.start()
        assert stream.wait_for_flow(20) < 15
    assert stream.check() > 50


def test_killed_mongod(new_panel, store):
    if store != "mongo":
        pytest.skip("the store is a file here: there is no server to kill")
    panel = new_panel(own_mongo=True, **QUICK)
    with Stream(panel) as stream:
        panel.kill("mongo")
        time.sleep(1)
        panel.start("mongo")
        assert stream.wait_for_flow(60) < 45
    assert stream.check(90) > 30
