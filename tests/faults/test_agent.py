# SPDX-License-Identifier: MIT
"""Agents that die: mcpctl agent run killed in the middle of its tasks, and an agent that merely falls silent."""
import json
import os
import secrets
import subprocess
import time

from push import PushAgent

COMMAND = "read -r task; sleep 0.15; printf '{\"by\": \"%s\", \"fence\": %s}' \"$MCP_AGENT_ID\" \"$MCP_FENCE\""


def run_agent(panel, name, capability, home):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "XDG_"))}
    env.update(HOME=home, XDG_CONFIG_HOME=home, MCP_HOME=panel.home)
    with open(f"{home}/{name}.log", "a") as log:
        return subprocess.Popen([panel.build + "/mcpctl", "agent", "run", "--name", name, "--type", "worker",
                                 "--capability", capability, "--concurrency", "4", "--", "sh", "-c", COMMAND],
                                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def at_work(panel):
    """Names of the agents that hold a task."""
    names = {agent["agent_id"]: agent["name"] for agent in panel.get("/agents?limit=100").data}
    return {names[task["assigned_agent_id"]] for task in panel.get("/tasks?type=mortal&status=running&limit=100").data}


def test_killed_agents_lose_nothing(new_panel, tmp_path):
    panel = new_panel(TASK_LEASE=2, AGENT_HEARTBEAT_INTERVAL=1)
    capability = "mortal-" + secrets.token_hex(3)
    agents = {name: run_agent(panel, name, capability, str(tmp_path)) for name in ("first", "second", "third")}
    try:
        ids = []
        for _ in range(8):
            got = panel.post("/tasks/batch", {"tasks": [
                {"type": "mortal", "parameters": {"n": n}, "requirements": {"capabilities": [capability]}, "max_retries": 20,
                 "retry": {"initial_delay_ms": 50, "max_delay_ms": 200}} for n in range(25)]}).expect(200, 201)
            ids += [item["task_id"] for item in got.data["items"]]
            name = ("first", "second")[len(ids) // 25 % 2]
            panel.wait_for(lambda: name in at_work(panel), 20, f"the {name} agent to have a task")
            agents[name].kill()
            agents[name].wait()
            agents[name] = run_agent(panel, name, capability, str(tmp_path))
        panel.wait_for(lambda: all(panel.task(i)["status"] == "completed" for i in ids[-5:]), 60, "the last tasks")
        panel.wait_for(lambda: all(panel.task(i)["status"] == "completed" for i in ids), 60, "all tasks", every=0.5)
        again = 0
        for task_id in ids:
            task = panel.task(task_id)
            # Only the holder of the last fence has completed it, and each lost attempt is on record.
            assert task["result"]["fence"] == task["fence"], task
            assert [a["outcome"] for a in task["attempts"]].count("completed") == 1, task
            assert task["attempts"][-1]["agent_id"] == task["result"]["by"], task
            again += task["fence"] > 1      # handed out again: given back by who came up in its place, or taken back
        assert again, "no agent was killed with a task in its hands"
    finally:
        for process in agents.values():
            process.terminate()
        for process in agents.values():
            process.wait(40)


def test_silent_agent_is_inactive_and_its_tasks_go_back(new_panel):
    panel = new_panel(AGENT_HEARTBEAT_INTERVAL=1, TASK_LEASE=600)
    silent, other = (panel.register_agent(capabilities=["quiet"]) for _ in range(2))
    silent.heartbeat().expect(200)
    tasks = [panel.submit("quiet", retry={"initial_delay_ms": 1}) for _ in range(3)]
    held = silent.claim(max=3)
    assert len(held) == 3
    began = time.monotonic()
    got = []
    panel.wait_for(lambda: got.extend(other.claim(max=3)) or len(got) == 3, 10, "its tasks")
    assert 1 < time.monotonic() - began < 6, "two intervals, and a look"
    assert panel.get(f"/agents/{silent.id}").data["status"] == "inactive"
    assert {t["task_id"] for t in got} == {t["task_id"] for t in tasks}
    for task in held:
        assert silent.complete(task).status == 409
    for task in got:
        other.complete(task, {"by": "other"}).expect(200)
    # It comes back with a heartbeat, and may have work again.
    silent.heartbeat().expect(200)
    assert panel.get(f"/agents/{silent.id}").data["status"] == "active"
    events = [e for e in panel.log("scheduler").splitlines() if "silent" in e and silent.id in e]
    assert len(events) == 1, events


def test_pushed_tasks_of_an_agent_that_dies(new_panel):
    """Its web server is gone: each push is a failed attempt, tried again under the retry rules, by another agent."""
    panel = new_panel(AGENT_HEARTBEAT_INTERVAL=1, AGENT_PROBE_INTERVAL=1, AGENT_ASSIGNMENT_TIMEOUT=2)
    with PushAgent(panel, delay=0.2) as first:
        other = PushAgent(panel)
        panel.put(f"/agents/{other.agent.id}", {"capabilities": [first.capability]}).expect(200)
        with other:
            ids = []

            def submit(count):
                got = panel.post("/tasks/batch", {"tasks": [
                    {"type": "push", "requirements": {"capabilities": [first.capability]}, "max_retries": 20,
                     "retry": {"initial_delay_ms": 50, "max_delay_ms": 200}} for _ in range(count)]}).expect(200, 201)
                ids.extend(item["task_id"] for item in got.data["items"])
            # Either may look dead for a moment on a busy machine, and the other one is quick.
            def pushed_to_first():
                if all(panel.task(i)["status"] == "completed" for i in ids):
                    submit(40)
                return len(first.fences) > 5
            panel.wait_for(pushed_to_first, 20, "pushes to the first", every=0.1)
            first.die()
            submit(40)
            panel.wait_for(lambda: all(panel.task(i)["status"] == "completed" for i in ids), 40, "all tasks", every=0.2)
            panel.wait_for(lambda: panel.get(f"/agents/{first.agent.id}").data["status"] == "inactive", 10, "the first to be gone")
            assert panel.get(f"/agents/{other.agent.id}").data["status"] == "active"
            assert any(panel.task(i)["attempts"][0]["error"] for i in ids), json.dumps(panel.task(ids[0]))
