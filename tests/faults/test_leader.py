# SPDX-License-Identifier: MIT
"""Two schedulers: one leads, the other takes over within five seconds, and nothing is done twice."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest

from stream import Stream
from push import PushAgent

TAKE_OVER = 5


class Standby:
    """A second scheduler beside the panel's own."""

    def __init__(self, panel):
        self.panel, self.killed = panel, False
        self.log_path = panel.home + "/log/standby.log"
        with open(f"/proc/{panel.pid('scheduler')}/environ") as f:
            env = dict(pair.split("=", 1) for pair in f.read().split("\0") if pair)
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([panel.build + "/mcp-scheduler", "--config", panel.home + "/mcp.conf"],
                                            stdin=subprocess.DEVNULL, stderr=log, env=env)
        panel.wait_for(lambda: "standing by" in self.log(), 10, "the standby to see the leader")

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def leads(self):
        return last_word(self.log()) == "leads"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        status = self.process.wait(15)
        return 0 if self.killed else status

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait()


def last_word(log):
    """Whether that scheduler leads, by what it said last."""
    word = None
    for line in log.splitlines():
        try:
            message = json.loads(line)["message"]
        except ValueError:
            continue
        if message.startswith("leading"):
            word = "leads"
        elif "standing by" in message or "handed over" in message or "giving up the lead" in message:
            word = "stands by"
    return word


@pytest.fixture
def pair(new_panel):
    made = []

    def make(**settings):
        panel = new_panel(**{"TASK_LEASE": 2, "AGENT_ASSIGNMENT_TIMEOUT": 2, **settings})
        panel.wait_for(lambda: last_word(panel.log("scheduler")) == "leads", 10, "a leader")
        standby = Standby(panel)
        made.append(standby)
        return panel, standby

    yield make
    for standby in made:
        assert standby.stop() == 0
        assert not [line for line in standby.log().splitlines() if "Sanitizer" in line or "runtime error" in line]


def wait_for_lead(panel, standby):
    began = time.monotonic()
    panel.wait_for(standby.leads, 20, "the standby to lead")
    return time.monotonic() - began


def held_back(panel, count, seconds=1):
    """Ids of tasks that only a scheduler can make claimable."""
    run_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds + 1))
    return [panel.submit("held", run_at=run_at, requirements={"capabilities": ["held"]})["task_id"] for _ in range(count)]


def test_take_over_after_a_kill(pair):
    panel, standby = pair()
    agent = panel.register_agent(capabilities=["held"])
    with Stream(panel) as stream:
        held = held_back(panel, 20)
        panel.kill("scheduler")
        assert wait_for_lead(panel, standby) <= TAKE_OVER
        got = {}
        def claim():
            got.update({t["task_id"]: t for t in agent.claim(max=20)})
            return len(got) == 20
        panel.wait_for(claim, 10, "the held tasks")
        assert set(got) == set(held)
        # It may stand by before it has said that it is up.
        said = len(panel.log("scheduler"))
        panel.start("scheduler")
        panel.wait_for(lambda: last_word(panel.log("scheduler")[said:]) == "stands by", 10, "the old one")
        assert stream.wait_for_flow(10) < 10
    assert stream.check() > 50


def test_polite_end_hands_over_at_once(pair):
    panel, standby = pair()
    panel.stop("scheduler")
    assert wait_for_lead(panel, standby) < 2
    assert "the lease is handed over" in panel.log("scheduler")


def test_frozen_leader_is_replaced_and_stands_by_after(pair):
    panel, standby = pair()
    os.kill(panel.pid("scheduler"), signal.SIGSTOP)
    try:
        assert wait_for_lead(panel, standby) <= TAKE_OVER
    finally:
        os.kill(panel.pid("scheduler"), signal.SIGCONT)
    panel.wait_for(lambda: last_word(panel.log("scheduler")) == "stands by", 10, "the thawed one to step back")
    assert standby.leads()


def test_no_task_is_assigned_twice(pair):
    """Pushes through several changes of the lead: every task is assigned once, and done once."""
    panel, standby = pair(AGENT_ASSIGNMENT_TIMEOUT=20)
    with PushAgent(panel, delay=0.02) as agent:
        ids, stop = [], threading.Event()

        def submit():
            while not stop.is_set():
                got = panel.post("/tasks/batch", {"tasks": [{"type": "push", "max_retries": 50, "requirements": {
                    "capabilities": [agent.capability]}} for _ in range(10)]}).expect(200, 201)
                ids.extend(item["task_id"] for item in got.data["items"])
                time.sleep(0.1)
        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        time.sleep(1)
        panel.kill("scheduler")
        assert wait_for_lead(panel, standby) <= TAKE_OVER
        said = len(panel.log("scheduler"))
        panel.start("scheduler")
        time.sleep(1)
        standby.kill()
        panel.wait_for(lambda: last_word(panel.log("scheduler")[said:]) == "leads", 10, "a leader again")
        time.sleep(1)
        stop.set()
        thread.join(10)
        panel.wait_for(lambda: all(panel.task(i)["status"] == "completed" for i in ids[-20:]), 20, "the last tasks")
        panel.wait_for(lambda: all(panel.task(i)["status"] == "completed" for i in ids), 40, "all tasks", every=0.5)
        for task_id in ids:
            task = panel.task(task_id)
            assert task["fence"] == 1 and task["attempt"] == 1, json.dumps(task["attempts"], indent=1)
            assert len(task["attempts"]) == 1, task
        assert {fence for fences in agent.fences.values() for fence in fences} == {1}
