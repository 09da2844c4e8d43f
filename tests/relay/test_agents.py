# SPDX-License-Identifier: MIT
"""Agents over the socket, and claims that wait in the relay."""
import os
import signal
import subprocess
import threading
import time

import pytest


@pytest.fixture
def agent(panel):
    return panel.register_agent(capabilities=["a" + str(time.time_ns())])


def submit(panel, agent, **more):
    return panel.submit(requirements={"capabilities": agent.capabilities}, **more)["task_id"]


def on_socket(ws, agent, **more):
    """The agent's socket, ready for tasks."""
    client = ws(token=agent.token)
    client.send({"type": "ready", "id": "ready", **more})
    client.message(lambda m: m.get("ref") == "ready" and m["type"] != "error")
    return client


def delegated(client, seconds=10):
    got = client.type("task:delegate", seconds=seconds)
    return got


def test_a_task_is_handed_over_at_once(ws, panel, agent):
    client = on_socket(ws, agent)
    began = time.monotonic()
    task = submit(panel, agent, parameters={"n": 1}, deadline="2030-01-01T00:00:00.000Z")
    got = delegated(client)
    assert time.monotonic() - began < 1
    assert got["payload"]["taskId"] == got["task_id"] == task and got["payload"]["agentId"] == agent.id and got["parameters"] == {"n": 1}
    assert got["fence"] and got["deadline"]
    client.send({"type": "progress:update", "id": 1, "payload": {"taskId": task, "fence": got["fence"], "progress": 0.5, "message": "half"}})
    panel.wait_for(lambda: panel.task(task)["progress"] == 0.5, 5, "the progress")
    client.send({"type": "task:result", "id": "r1", "task_id": task, "fence": got["fence"], "result": {"n": 2}})
    answer = client.message(lambda m: m.get("ref") == "r1" or m.get("id") == "r1")
    assert answer["type"] != "error", answer
    done = panel.task(task)
    assert done["status"] == "completed" and done["result"] == {"n": 2} and done["assigned_agent_id"] == agent.id


def test_work_that_waited_before_the_agent_came(ws, panel, agent):
    tasks = {submit(panel, agent) for _ in range(3)}
    client = on_socket(ws, agent)
    got = set()
    for _ in range(3):
        one = delegated(client)
        got.add(one["task_id"])
        client.send({"type": "task:result", "id": one["task_id"], "task_id": one["task_id"], "fence": one["fence"], "result": {}})
    assert got == tasks
    panel.wait_for(lambda: all(panel.task(t)["status"] == "completed" for t in tasks), 5, "all of them")


def test_an_error_is_retried(ws, panel, agent):
    client = on_socket(ws, agent)
    task = submit(panel, agent, max_retries=1, retry={"initial_delay_ms": 50})
    for attempt in (1, 2):
        got = delegated(client)
        assert got["task_id"] == task
        client.send({"type": "task:result", "id": attempt, "task_id": task, "fence": got["fence"], "retryable": True,
                     "error": {"type": "system", "code": "broken", "message": "no"}})
    panel.wait_for(lambda: panel.task(task)["status"] == "failed", 5, "the end")


def test_an_old_fence_is_refused(ws, panel, agent):
    client = on_socket(ws, agent)
    task = submit(panel, agent)
    got = delegated(client)
    client.send({"type": "task:result", "id": "bad", "task_id": task, "fence": got["fence"] + 1, "result": {}})
    error = client.type("error")
    assert error["ref"] == "bad" and error["code"]
    assert panel.task(task)["status"] in ("assigned", "running")
    client.send({"type": "task:result", "id": "good", "task_id": task, "fence": got["fence"], "result": {}})
    client.message(lambda m: m.get("ref") == "good" or m.get("id") == "good")
    panel.wait_for(lambda: panel.task(task)["status"] == "completed", 5, "completion")


def test_another_agents_task_is_not_to_be_reported(ws, panel, agent):
    other = panel.register_agent(capabilities=["o" + str(time.time_ns())])
    task = submit(panel, agent)
    held = agent.claim()[0]
    client = ws(token=other.token)
    client.send({"type": "task:result", "id": "x", "task_id": task, "fence": held["fence"], "result": {}})
    assert client.type("error")["ref"] == "x"
    agent.complete(held).expect(200)


def test_slots_and_types(ws, panel, agent):
    client = on_socket(ws, agent, slots=2, types=["wanted"], whole=True)
    other = submit(panel, agent, type="other")
    tasks = [submit(panel, agent, type="wanted", parameters={"i": i}) for i in range(3)]
    first = [client.type("task:delegate") for _ in range(2)]
    client.none(lambda g: "task:delegate" in g.get("text", ""), 0.7)
    assert {m["task"]["task_id"] for m in first} <= set(tasks)
    # As a claim answers it, so that a program sees no difference.
    seen = first[0]["task"]
    assert seen["type"] == "wanted" and seen["status"] == "running" and set(seen["parameters"]) == {"i"} and seen["requirements"]
    client.send({"type": "ready", "slots": 0})
    for m in first:
        client.send({"type": "task:result", "id": m["task"]["task_id"], "task_id": m["task"]["task_id"], "fence": m["task"]["fence"], "result": {}})
    client.none(lambda g: "task:delegate" in g.get("text", ""), 0.7)
    client.send({"type": "ready", "slots": 1, "types": ["wanted"], "whole": False})
    last = client.type("task:delegate")
    assert "task" not in last and last["task_id"] in tasks
    client.send({"type": "task:release", "id": "rel", "task_id": last["task_id"], "fence": last["fence"]})
    assert panel.task(other)["status"] == "pending"


def test_a_lease_is_kept_by_the_socket_alone(new_panel, driver):
    panel = new_panel(TASK_LEASE=2, AGENT_HEARTBEAT_INTERVAL=1)
    agent = panel.register_agent(capabilities=["k"])
    client = driver.ws(panel.ws_url, token=agent.token)
    client.send({"type": "ready"})
    task = panel.submit(requirements={"capabilities": ["k"]})["task_id"]
    got = delegated(client)
    time.sleep(5)
    now = panel.task(task)
    assert now["status"] == "running" and now["fence"] == got["fence"]
    client.send({"type": "task:result", "id": "r", "task_id": task, "fence": got["fence"], "result": {}})
    panel.wait_for(lambda: panel.task(task)["status"] == "completed", 5, "completion")


def test_a_socket_that_goes_leaves_its_task_to_the_lease(new_panel, driver):
    panel = new_panel(TASK_LEASE=2, AGENT_HEARTBEAT_INTERVAL=1, AGENT_ASSIGNMENT_TIMEOUT=2)
    agent, other = (panel.register_agent(capabilities=["k"]) for _ in range(2))
    client = driver.ws(panel.ws_url, token=agent.token)
    client.send({"type": "ready"})
    task = panel.submit(requirements={"capabilities": ["k"]}, retry={"initial_delay_ms": 100})["task_id"]
    delegated(client)
    client.do("ws.terminate")
    [again] = other.claim(wait=15)
    assert again["task_id"] == task
    other.complete(again).expect(200)


def test_mcpctl_takes_its_work_over_the_socket(panel, tmp_path):
    """And goes on by REST while there is no relay."""
    agent = panel.register_agent(capabilities=["cli" + str(time.time_ns())], slots=4)
    (tmp_path / "token").write_text(agent.auth_token)
    env = {**os.environ, "MCP_URL": panel.url, "XDG_CONFIG_HOME": str(tmp_path)}
    process = subprocess.Popen([panel.build + "/mcpctl", "--verbose", "agent", "run", "--agent-id", agent.id, "--token-file", str(tmp_path / "token"),
                                "--concurrency", "4", "--", "cat"], env=env, stderr=subprocess.PIPE, text=True)
    try:
        tasks = []
        for n in range(20):
            tasks.append(submit(panel, agent, parameters={"n": n}))
            time.sleep(0.02)
        panel.wait_for(lambda: all(panel.task(t)["status"] == "completed" for t in tasks), 10, "every task")
        assert panel.task(tasks[3])["result"]["parameters"] == {"n": 3}
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1]
    assert "tasks come over the socket" in said and "/complete" not in said, said
    assert "stopped: 20 completed" in said


# --- claims that wait -----------------------------------------------------------------------------------------------


def test_a_waiting_claim_gets_what_comes(panel, agent):
    timer = threading.Timer(0.5, lambda: submit(panel, agent))
    began = time.monotonic()
    timer.start()
    tasks = agent.claim(wait=10)
    assert len(tasks) == 1 and 0.4 < time.monotonic() - began < 3
    agent.complete(tasks[0]).expect(200)


def test_a_waiting_claim_ends_empty(panel, agent):
    began = time.monotonic()
    assert agent.claim(wait=2) == []
    assert 1.8 < time.monotonic() - began < 4


def test_what_is_there_is_given_at_once(panel, agent):
    submit(panel, agent)
    began = time.monotonic()
    assert agent.claim(wait=20) and time.monotonic() - began < 2


def test_a_waiting_claim_is_refused_like_any(panel, agent):
    path = f"/agents/{agent.id}/claim?wait=5"
    assert panel.post(path, token=None).status == 401
    assert panel.post(path, token="nonsense").status == 401
    assert panel.register_agent().request("POST", path, {"max": 1}).status == 403
    answer = agent.request("POST", path, {"no-such-field": 1})
    assert answer.status == 400 and answer.error["details"][0]["field"] == "$.no-such-field"
    assert agent.request("POST", f"/agents/{agent.id}/claim?wait=x", {"max": 1}).status == 400
    assert agent.request("POST", f"/agents/{agent.id}/claim?wait=5", b"{").status == 400
    for odd in ("%00", "%zz", "%", "x" * 3000, "x" * 8000, "&a=b" * 400, "%2f..%2f"):
        refused = agent.request("POST", f"/agents/{agent.id}/claim?wait=5&a={odd}", {"max": 1})
        assert refused.status == 400 and refused.json["error"]["code"], odd


def test_hundreds_of_claims_park_without_a_thread(panel):
    agents = [panel.register_agent(capabilities=["many" + str(time.time_ns())]) for _ in range(20)]
    assert all(a.token for a in agents)
    got, lock = [], threading.Lock()

    def claim(a):
        tasks = a.claim(wait=8)
        with lock:
            got.extend(t["task_id"] for t in tasks)

    threads = [threading.Thread(target=claim, args=(a,)) for a in agents for _ in range(10)]
    for t in threads:
        t.start()
    time.sleep(1)
    tasks = [submit(panel, a) for a in agents]
    panel.wait_for(lambda: len(got) >= len(tasks), 5, "every task to be taken")
    assert sorted(got) == sorted(tasks)
    for t in threads:
        t.join()


def test_draining_ends_the_wait(panel, agent):
    threading.Timer(0.5, lambda: panel.post(f"/agents/{agent.id}/drain")).start()
    began = time.monotonic()
    assert agent.claim(wait=15) == [] and time.monotonic() - began < 5


def test_a_busy_agent_does_not_swallow_the_word(ws, panel, agent):
    """Tasks go to who has room, at once, though a fuller one stood in line first."""
    busy = on_socket(ws, agent)
    submit(panel, agent)
    delegated(busy)
    other = panel.register_agent(capabilities=agent.capabilities)
    idle = on_socket(ws, other)
    for _ in range(3):
        began = time.monotonic()
        task = submit(panel, agent)
        got = delegated(idle)
        assert got["task_id"] == task and time.monotonic() - began < 1
        idle.send({"type": "task:result", "id": task, "task_id": task, "fence": got["fence"], "result": {}})
        idle.message(lambda m: m.get("ref") == task and m["type"] == "ack")


def test_a_cancelled_task_makes_room_at_once(ws, panel, agent):
    client = on_socket(ws, agent)
    first, second = submit(panel, agent), submit(panel, agent)
    taken = delegated(client)["task_id"]
    panel.post(f"/tasks/{taken}/cancel", {})
    began = time.monotonic()
    client.type("task:cancelled", seconds=3)
    assert delegated(client)["task_id"] == (second if taken == first else first)
    assert time.monotonic() - began < 1
