# SPDX-License-Identifier: MIT
"""Subscriptions: the state first, then what fits; path channels, older dialects, server-sent events, resuming."""
import json
import time

import pytest


def run_task(panel, agent, **more):
    """A task through its whole life; its id."""
    task = panel.submit(requirements={"capabilities": agent.capabilities}, **more)
    held = agent.claim()[0]
    assert held["task_id"] == task["task_id"]
    agent.progress(held, 0.5, "half way").expect(200)
    agent.complete(held, {"done": True}).expect(200)
    return task["task_id"]


@pytest.fixture
def agent(panel):
    return panel.register_agent(capabilities=["c" + str(time.time_ns())])


def test_a_task_from_beginning_to_end(ws, panel, agent):
    client = ws()
    client.subscribe("tasks")
    task = run_task(panel, agent)
    for kind in ("task.created", "task.progress", "task.completed"):
        event = client.event(kind, task_id=task)
        assert set(event) >= {"id", "type", "timestamp", "data"}


def test_events_are_on_time(ws, panel, agent):
    client = ws()
    client.subscribe("tasks")
    late = []
    for _ in range(20):
        began = time.time()
        task = panel.submit()["task_id"]
        got = client.next(lambda g: g["event"] == "message" and task in g.get("text", ""), 5, "the event")
        late.append(got["at"] / 1000 - began)
    assert sorted(late)[10] < 0.25, late


def test_the_state_comes_first(ws, panel, agent):
    task = panel.submit(requirements={"capabilities": agent.capabilities})["task_id"]
    client = ws()
    got = client.subscribe("tasks", filter={"task_id": task})
    assert got["data"]["task_id"] == task and got["data"]["status"] == "pending" and got["last_event_id"]
    held = agent.claim()[0]
    agent.complete(held).expect(200)
    assert client.event("task.completed")["data"]["task_id"] == task
    got = client.subscribe("agents", id="a", filter={"agent_id": agent.id})
    assert got["data"]["agent_id"] == agent.id


def test_filters(ws, panel, agent):
    one, two = (panel.submit()["task_id"] for _ in range(2))
    client = ws()
    client.subscribe("tasks", filter={"task_id": one, "types": ["task.failed", "task.cancelled", "task.progress", "task.completed"]})
    for task in (two, one):
        panel.post(f"/tasks/{task}/cancel").expect(200)
    got = client.message(lambda m: m.get("type", "").startswith("task."))
    assert got["data"]["task_id"] == one
    client.no_event(task_id=two)
    typed = ws()
    typed.subscribe("tasks", filter={"types": ["task.created"]})
    three = run_task(panel, agent)
    typed.event("task.created", task_id=three)
    typed.no_event("task.progress", "task.completed", "task.assigned")


@pytest.mark.parametrize("filter", [{"task_id": "x"}, {"task_id": 7}, {"types": "task.created"}, {"types": [1]}, 7])
def test_bad_filters_are_told(ws, filter):
    client = ws()
    client.send({"type": "subscribe", "id": "bad", "channel": "tasks", "filter": filter})
    got = client.type("error")
    assert got["code"] and got["message"] and got["ref"] == "bad"
    client.subscribe("tasks")


def test_unknown_words_are_told(ws):
    client = ws()
    for message in ({"type": "subscribe", "id": "b", "channel": "nothing"}, {"type": "no-such-type"}, {"id": 1}):
        client.send(json.dumps(message))
        assert client.type("error")["code"]
    client.send({"type": "ping"})
    client.type("pong")


@pytest.mark.parametrize("text", ["[]", "7", '"text"', "no json", "{", ""])
def test_what_is_no_object_ends_the_connection(ws, text):
    client = ws()
    client.send(text)
    assert client.closed() == 1007


def test_unsubscribe(ws, panel):
    client = ws()
    client.subscribe("tasks", id="t")
    client.subscribe("agents", id="a")
    panel.submit()
    client.event("task.created")
    client.send({"type": "unsubscribe", "id": "t"})
    client.send({"type": "ping"})
    client.type("pong")
    panel.submit()
    agent = panel.register_agent()
    client.event("agent.registered", agent_id=agent.id)
    client.no_event("task.created")


def test_no_event_comes_twice(ws, panel):
    client = ws()
    client.subscribe("tasks", id="one")
    client.subscribe("all", id="two")
    tasks = [panel.submit()["task_id"] for _ in range(10)]
    client.event("task.created", task_id=tasks[-1])
    time.sleep(0.3)
    client.none(lambda g: False, 0)
    told = [json.loads(g["text"]) for g in client.seen if g["event"] == "message"]
    ids = [m["id"] for m in told if m["type"] == "task.created" and m["data"]["task_id"] in tasks]
    assert len(ids) == 10 and len(set(ids)) == 10


def test_path_channels(ws, panel, agent):
    task = panel.submit(requirements={"capabilities": agent.capabilities})["task_id"]
    clients = {path: ws(path) for path in ("/agents/status", "/tasks/progress", f"/tasks/{task}", "/pipeline/updates", "/system/events")}
    time.sleep(0.3)
    held = agent.claim()[0]
    agent.progress(held, 0.25).expect(200)
    other = panel.register_agent()
    clients["/tasks/progress"].event("task.progress", task_id=task)
    clients[f"/tasks/{task}"].event("task.progress", task_id=task)
    clients["/agents/status"].event("agent.registered", agent_id=other.id)
    clients[f"/tasks/{task}"].no_event("agent.registered", "task.created")
    clients["/agents/status"].no_event("task.progress")


def test_a_pipelines_events(ws, panel, agent):
    client = ws()
    client.subscribe("pipelines")
    caps = agent.capabilities
    pipeline = panel.post("/pipelines", {"name": "p" + str(time.time_ns()), "stages": [
        {"name": "one", "type": "one", "capabilities": caps}, {"name": "two", "type": "two", "capabilities": caps}]}).expect(201).data
    run = panel.post(f"/pipelines/{pipeline['pipeline_id']}/execute", {"input_data": {}}).expect(202).data["execution_id"]
    for _ in range(2):
        held = agent.claim(wait=10)[0]
        agent.complete(held, {"x": 1}).expect(200)
    client.event("pipeline.started", execution_id=run)
    client.event("stage.completed", execution_id=run)
    client.event("pipeline.completed", execution_id=run)
    got = client.subscribe("pipelines", id="run", filter={"execution_id": run})
    assert got["data"]["execution_id"] == run and got["data"]["status"] == "completed"


def test_the_older_dialect(ws, panel, agent):
    client = ws()
    task = panel.submit(requirements={"capabilities": agent.capabilities})["task_id"]
    client.send({"task_id": task, "action": "subscribe"})
    client.send({"type": "task_progress_subscribe", "task_id": task})
    client.type("task_progress_update", task_id=task)
    held = agent.claim()[0]
    agent.progress(held, 0.5).expect(200)
    got = client.type("task_update", task_id=task)
    assert set(got) >= {"type", "task_id", "status", "progress", "timestamp"}
    client.type("task_progress_update", task_id=task)
    client.send({"type": "agent_status_subscribe", "criteria": {}})
    assert isinstance(client.type("agent_status_update")["agents"], list)


# --- resuming ----------------------------------------------------------------------------------------------------------


def test_resume_after_the_last_event(ws, panel):
    first = ws()
    first.subscribe("tasks")
    panel.submit()
    last = first.event("task.created")["id"]
    first.do("ws.terminate")
    missed = [panel.submit()["task_id"] for _ in range(30)]
    second = ws()
    second.send({"type": "subscribe", "id": "s", "channel": "tasks", "filter": {"types": ["task.created"]}, "after": last})
    for task in missed:
        assert second.event("task.created")["data"]["task_id"] == task
    panel.submit()
    second.event("task.created")
    second.no_event("task.created")


def test_resume_from_before_all_that_is_kept_says_so(ws, panel):
    client = ws()
    client.send({"type": "subscribe", "id": "s", "channel": "tasks", "after": "1-1"})
    assert client.type("resync")["reason"] == "gap"


def test_server_sent_events(driver, panel, agent):
    stream = driver.sse(panel.url + "/api/v1/events/stream", token=panel.admin_token)
    stream.wait("open")
    task = run_task(panel, agent)
    created = stream.event("task.created", lambda d: d["task_id"] == task)
    assert created["last"] == created["id"]
    last = stream.event("task.completed", lambda d: d["task_id"] == task)["last"]
    stream.close()
    missed = [panel.submit()["task_id"] for _ in range(10)]
    again = driver.sse(panel.url + "/api/v1/events/stream", token=panel.admin_token, headers={"Last-Event-ID": last})
    for m in missed:
        assert again.event("task.created")["data"]["task_id"] == m
    again.close()


def test_server_sent_events_need_a_credential(driver, panel):
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        assert panel.get("/events/stream", token=None, headers=headers).status == 401
    ticket = panel.post("/auth/ws-ticket").expect(201).data["ticket"]
    stream = driver.sse(panel.url + "/api/v1/events/stream?ticket=" + ticket)
    stream.wait("open")
    stream.close()
