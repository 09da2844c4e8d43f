# SPDX-License-Identifier: MIT
"""Agents over the socket, and claims that wait in the relay."""
import threading
import time

import pytest


@pytest.fixture
def agent(panel):
    return panel.register_agent(capabilities=["a" + str(time.time_ns())])


def submit(panel, agent, **more):
    return panel.submit(requirements={"capabilities": agent.capabilities}, **more)["task_id"]


def delegated(client, seconds=10):
    got = client.type("task:delegate", seconds=seconds)
    return got.get("payload") or got.get("data")


def test_a_task_is_handed_over_at_once(ws, panel, agent):
    client = ws(token=agent.token)
    began = time.monotonic()
    task = submit(panel, agent, parameters={"n": 1}, deadline="2030-01-01T00:00:00.000Z")
    got = delegated(client)
    assert time.monotonic() - began < 1
    assert got["taskId"] == got["task_id"] == task and got["agentId"] == agent.id and got["parameters"] == {"n": 1}
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
    client = ws(token=agent.token)
    got = set()
    for _ in range(3):
        one = delegated(client)
        got.add(one["task_id"])
        client.send({"type": "task:result", "id": one["task_id"], "task_id": one["task_id"], "fence": one["fence"], "result": {}})
    assert got == tasks
    panel.wait_for(lambda: all(panel.task(t)["status"] == "completed" for t in tasks), 5, "all of them")


def test_an_error_is_retried(ws, panel, agent):
    client = ws(token=agent.token)
    task = submit(panel, agent, max_retries=1, retry={"initial_delay_ms": 50})
    for attempt in (1, 2):
        got = delegated(client)
        assert got["task_id"] == task
        client.send({"type": "task:result", "id": attempt, "task_id": task, "fence": got["fence"], "retryable": True,
                     "error": {"type": "system", "code": "broken", "message": "no"}})
    panel.wait_for(lambda: panel.task(task)["status"] == "failed", 5, "the end")


def test_an_old_fence_is_refused(ws, panel, agent):
    client = ws(token=agent.token)
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


def test_hundreds_of_claims_park_without_a_thread(panel):
    agents = [panel.register_agent(capabilities=["many" + str(time.time_ns())]) for _ in range(20)]
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
