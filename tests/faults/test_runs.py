# SPDX-License-Identifier: MIT
"""Runs of pipelines while processes die: each acknowledged run ends once, with every task of every stage done once and
the right output."""
import http.client
import os
import secrets
import signal
import threading
import time

import pytest

TROUBLE = (OSError, http.client.HTTPException)
QUICK = {"TASK_LEASE": 2, "AGENT_ASSIGNMENT_TIMEOUT": 2, "AGENT_HEARTBEAT_INTERVAL": 5}


class Mill:
    """Agents that do the three stages of a small pipeline: split a number into items, double each, add them up."""

    def __init__(self, panel, agents=3):
        self.panel, self.over = panel, threading.Event()
        self.capability = "mill-" + secrets.token_hex(3)
        need = {"capabilities": [self.capability], "max_retries": 50}
        self.pipeline = panel.post("/pipelines", {"name": "mill", "stages": [
            {"name": "split", "type": "split", **need},
            {"name": "double", "type": "double", "fan_out": True, **need},
            {"name": "sum", "type": "sum", **need}]}).expect(201).data["pipeline_id"]
        self.agents = [panel.register_agent(capabilities=[self.capability]) for _ in range(agents)]
        for agent in self.agents:
            agent.token
        self.threads = [threading.Thread(target=self._work, args=(a,), daemon=True) for a in self.agents]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(20)

    def result(self, task):
        given = task["parameters"]["input"]
        if task["type"] == "split":
            return {"items": [{"n": i} for i in range(given["count"])]}
        if task["type"] == "double":
            return {"items": [{"n": 2 * item["n"]} for item in given["items"]]}
        return {"sum": sum(item["n"] for item in given["items"]), "count": len(given["items"])}

    def _work(self, agent):
        while not self.over.is_set():
            try:
                tasks = agent.request("POST", f"/agents/{agent.id}/claim", {"max": 10}, timeout=10)
                tasks = tasks.data["tasks"] if tasks.status == 200 else []
                for task in tasks:
                    self._finish(agent, task)
            except TROUBLE:
                tasks = []
            if not tasks:
                time.sleep(0.05)

    def _finish(self, agent, task):
        result = self.result(task)
        for _ in range(20):
            try:
                if agent.request("POST", f"/tasks/{task['task_id']}/complete", {"fence": task["fence"], "result": result},
                                 timeout=10).status < 500:
                    return
            except TROUBLE:
                pass
            time.sleep(0.1)

    def start(self, count, batch_size=10, workers=8):
        """Start a run whatever it takes; its id."""
        key = secrets.token_hex(8)
        body = {"input_data": {"count": count}, "parameters": {"batch_size": batch_size, "parallel_workers": workers}}
        while True:
            try:
                got = self.panel.request("POST", f"/pipelines/{self.pipeline}/execute", body, timeout=10,
                                         headers={"Idempotency-Key": key})
                if got.status == 202:
                    return got.data["execution_id"]
                assert got.status >= 500 or got.status == 409, got
            except TROUBLE:
                pass
            time.sleep(0.1)

    def state(self, run):
        """As far as it can be had just now."""
        try:
            got = self.panel.get(f"/executions/{run}")
        except TROUBLE:
            return {}
        return got.data if got.status == 200 else {}

    def wait(self, runs, seconds):
        left = dict(runs)

        def all_ended():
            for run in list(left):
                if self.state(run).get("status") in ("completed", "failed", "cancelled"):
                    left.pop(run)
            return not left
        try:
            self.panel.wait_for(all_ended, seconds, "every run to end", every=0.1)
        except AssertionError as late:
            stuck = self.state(next(iter(left)))
            raise AssertionError(f"{late}: {len(left)} have not, such as {stuck}") from None

    def check(self, run, count, batch_size):
        state = self.panel.get(f"/executions/{run}").expect(200).data
        assert state["status"] == "completed", state
        tasks = [stage["tasks"] for stage in state["stages"]]
        assert tasks == [1, -(-count // batch_size), 1], tasks
        for stage in state["stages"]:
            counts = {k: v for k, v in stage["task_counts"].items() if v}
            assert counts == {"completed": stage["tasks"]}, stage
        output = self.panel.get(f"/executions/{run}/output").expect(200).data["output"]
        assert output == {"sum": count * (count - 1), "count": count}, output


def kill_workers(panel):
    for pid in panel.children("api"):
        os.kill(pid, signal.SIGKILL)


def kill_and_start(part):
    def kill(panel):
        panel.kill(part)
        time.sleep(0.2)
        panel.start(part)
    return kill


@pytest.mark.parametrize("blow", [kill_workers, kill_and_start("scheduler"), kill_and_start("redis"), kill_and_start("api")],
                         ids=["api-workers", "scheduler", "redis", "api"])
def test_runs_survive(new_panel, blow):
    panel = new_panel(**QUICK)
    with Mill(panel) as mill:
        runs = {}
        starter = threading.Thread(target=lambda: [runs.setdefault(mill.start(50), 50) for _ in range(20)], daemon=True)
        starter.start()
        for _ in range(4):
            time.sleep(0.6)
            blow(panel)
        starter.join(60)
        assert len(runs) == 20
        mill.wait(runs, 60)
        for run in runs:
            mill.check(run, 50, 10)
    listed = panel.get(f"/executions?pipeline_id={mill.pipeline}&limit=100").expect(200).data
    assert {e["execution_id"] for e in listed} == set(runs)


def test_large_stage_is_filled_by_somebody(new_panel):
    """A stage of thousands of tasks is made after its record says that it runs; whoever does it may die."""
    panel = new_panel(**QUICK)
    with Mill(panel) as mill:
        run = mill.start(3000, batch_size=2, workers=50)
        for _ in range(6):
            time.sleep(0.25)
            kill_workers(panel)
        mill.wait({run: 3000}, 90)
        mill.check(run, 3000, 2)


@pytest.mark.parametrize("verb, status", [("cancel", "cancelled"), ("pause", "paused")])
def test_what_the_owner_was_told_holds(new_panel, verb, status):
    """The answer to a cancel or a pause is out; then the process that gave it dies. No task starts any more."""
    panel = new_panel(**QUICK)
    mill = Mill(panel, agents=1)
    run = mill.start(2000, batch_size=2, workers=1000)
    task, = mill.agents[0].claim()
    done = threading.Thread(target=lambda: mill._finish(mill.agents[0], task), daemon=True)
    done.start()
    panel.wait_for(lambda: mill.state(run)["stages"][1]["task_counts"]["pending"] >= 900, 20,
                   "the second stage")
    blow = threading.Timer(0.005, kill_workers, [panel])
    blow.start()
    while True:
        try:
            if panel.post(f"/executions/{run}/{verb}").status in (200, 409):
                break
        except TROUBLE:
            pass
        time.sleep(0.1)
    blow.join()
    done.join(20)
    panel.wait_for(lambda: mill.state(run).get("status") == status, 10, status)
    # What was left half done is put right when the dead process is found.
    if verb == "cancel":
        panel.wait_for(lambda: {k for s in mill.state(run)["stages"] for k, v in s["task_counts"].items() if v} <=
                       {"completed", "cancelled"}, 15, "every task to be cancelled")
    panel.wait_for(lambda: all(mill.agents[0].claim(max=5) == [] for _ in range(20)), 20, "no task to be given out")
    if verb == "pause":
        panel.post(f"/executions/{run}/resume").expect(200)
        with mill:
            mill.wait({run: 2000}, 90)
            mill.check(run, 2000, 2)
