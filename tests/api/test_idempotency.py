# SPDX-License-Identifier: MIT
"""Idempotency-Key: what is repeated, one after the other or all at once, is done once."""
import concurrent.futures

import pytest

from support import all_pages, error, fields, lane, unique

TASK = {"type": "test", "requirements": {"capabilities": ["nobody-has-this"]}}


def at_once(call, n=16):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda _: call(), range(n)))


def settle(call, answers, good):
    """All answers, those that were told to wait for the first one repeated."""
    settled = []
    for answer in answers:
        while answer.status == 409 and answer.error["code"] == "idempotency_in_progress":
            answer = call()
        settled.append(answer.expect(good))
    return settled


@pytest.mark.parametrize("path,body,good,name", (
    ("/tasks", TASK, 201, "task_id"),
    ("/tasks/batch", {"tasks": [TASK, TASK]}, 200, None),
    ("/agents/register", {"name": "x", "type": "worker"}, 201, "agent_id"),
    ("/pipelines", {"name": "x", "stages": [{"name": "one"}]}, 201, "pipeline_id"),
    ("/api-keys", {"name": "x", "role": "worker"}, 201, "key_id"),
))
def test_many_at_once_are_one(panel, path, body, good, name):
    panel.admin_token
    headers = {"Idempotency-Key": unique()}

    def call():
        return panel.post(path, body, headers=headers)
    answers = settle(call, at_once(call), good)
    made = {a.data[name] if name else tuple(i["task_id"] for i in a.data["items"]) for a in answers}
    assert len(made) == 1
    assert sum(a.headers.get("Idempotency-Replayed") is None for a in answers) <= 1
    secrets = [a.data.get("auth_token") or a.data.get("key") for a in answers if isinstance(a.data, dict)]
    if path in ("/agents/register", "/api-keys"):
        assert sum(s is not None for s in secrets) <= 1


def test_many_at_once_make_one_task(panel):
    kind, headers = unique("idem"), {"Idempotency-Key": unique()}
    panel.admin_token

    def call():
        return panel.post("/tasks", {**TASK, "type": kind}, headers=headers)
    settle(call, at_once(call), 201)
    assert len(all_pages(panel, f"/tasks?type={kind}")) == 1


def test_many_at_once_make_one_run(panel):
    capability = unique("idem")
    pipeline = panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one", "capabilities": [capability]}]}).expect(201).data
    headers = {"Idempotency-Key": unique()}

    def call():
        return panel.post(f"/pipelines/{pipeline['pipeline_id']}/execute", {"input_data": 1}, headers=headers)
    answers = settle(call, at_once(call, 8), 202)
    assert len({a.data["execution_id"] for a in answers}) == 1
    assert len(all_pages(panel, f"/executions?pipeline_id={pipeline['pipeline_id']}")) == 1
    assert len(panel.register_agent(capabilities=[capability]).claim(max=10)) == 1


def test_different_bodies_at_once(panel):
    """One wins; who said something else with its key is told so."""
    kind, headers = unique("idem"), {"Idempotency-Key": unique()}
    panel.admin_token
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: panel.post("/tasks", {**TASK, "type": kind, "parameters": n}, headers=headers), range(8)))
    good = [a for a in answers if a.status == 201]
    assert len(good) == 1
    for answer in answers:
        assert answer.status in (201, 422) or (answer.status == 409 and answer.error["code"] == "idempotency_in_progress"), answer
    assert len(all_pages(panel, f"/tasks?type={kind}")) == 1


def test_keys_belong_to_their_caller_and_route(panel, people):
    headers = {"Idempotency-Key": unique()}
    first = panel.post("/tasks", TASK, headers=headers).expect(201).data
    second = panel.post("/tasks", TASK, headers=headers, token=people["supervisor"]).expect(201).data
    assert first["task_id"] != second["task_id"]
    panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}, headers=headers).expect(201)


def test_a_refused_request_leaves_the_key_free(panel):
    headers = {"Idempotency-Key": unique()}
    assert fields(panel.post("/tasks", {"type": "B A D"}, headers=headers), "$.type")
    made = panel.post("/tasks", TASK, headers=headers).expect(201)
    assert "Idempotency-Replayed" not in made.headers


def test_a_replay_outlives_what_it_made(panel):
    """The first answer again, whatever has become of the task since."""
    agent, submit = lane(panel)
    headers = {"Idempotency-Key": unique()}
    body = {"type": "test", "requirements": {"capabilities": [submit.capability]}}
    first = panel.post("/tasks", body, headers=headers).expect(201).data
    agent.complete(agent.claim()[0]).expect(200)
    again = panel.post("/tasks", body, headers=headers).expect(201)
    assert again.data == first and again.headers["Idempotency-Replayed"] == "true"
    assert agent.claim() == []


def test_an_empty_key_is_refused(panel, server):
    """lighttpd takes an empty header for none and does not pass it on; there is nothing to refuse then."""
    for empty in ("", " "):
        answer = panel.post("/tasks", TASK, headers={"Idempotency-Key": empty})
        if server == "apache":
            assert fields(answer, "header.Idempotency-Key")
        else:
            answer.expect(201)
    error(panel.post("/tasks", TASK, headers={"Idempotency-Key": "k" * 129}), 400, "validation_failed")
    panel.post("/tasks", TASK, headers={"Idempotency-Key": "k" * 128}).expect(201)
