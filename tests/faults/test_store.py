# SPDX-License-Identifier: MIT
"""A store that does not answer for a while: the panel says so, and goes on by itself when it does again."""
import os
import signal
import sqlite3
import time

import pytest

from stream import Stream
from test_leader import last_word

QUICK = {"TASK_LEASE": 3, "AGENT_HEARTBEAT_INTERVAL": 2}


@pytest.fixture
def outage(new_panel, store):
    """A panel, and two functions that take its store away and give it back."""
    if store == "mongo":
        panel = new_panel(own_mongo=True, **QUICK)
        yield panel, lambda: os.kill(panel.pid("mongo"), signal.SIGSTOP), lambda: os.kill(panel.pid("mongo"), signal.SIGCONT)
        return
    panel = new_panel(**QUICK)
    other = sqlite3.connect(panel.home + "/mcp.db", isolation_level=None, timeout=10)
    yield panel, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")
    other.close()


def test_store_away(outage):
    panel, take, give = outage
    panel.wait_for(lambda: last_word(panel.log("scheduler")) == "leads", 10, "a leader")
    with Stream(panel, submitters=1, rate=20) as stream:
        take()
        try:
            # Longer than the lease of the lead, and than calls wait.
            panel.wait_for(lambda: last_word(panel.log("scheduler")) != "leads", 20, "the lead to be given up")
            time.sleep(2)
            assert panel.running("scheduler") and panel.running("api")
            assert panel.get("//live").status == 200
        finally:
            give()
        assert stream.wait_for_flow(30) < 25
        panel.wait_for(lambda: last_word(panel.log("scheduler")) == "leads", 10, "the lead to be taken again")
    assert stream.check(60) > 50
    complaints = [line for line in panel.log("scheduler").splitlines() if '"WARN"' in line or '"ERROR"' in line]
    assert len(complaints) < 20, "said once, not with every try"


def test_scheduler_waits_for_a_store_that_comes_later(new_panel, store):
    if store != "mongo":
        pytest.skip("the store is a file here: it is always there")
    panel = new_panel(own_mongo=True, **QUICK)
    panel.stop("scheduler")
    panel.kill("mongo")
    panel.mcp("up", "scheduler", check=False)
    panel.wait_for(lambda: "waiting for it" in panel.log("scheduler"), 20, "the scheduler to say so")
    panel.start("mongo")
    panel.wait_for(lambda: last_word(panel.log("scheduler").rpartition("waiting for it")[2]) == "leads", 40, "a leader")
