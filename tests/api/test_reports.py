# SPDX-License-Identifier: MIT
"""Tasks while they run: claims, fencing, reports, their repetition, progress, logs, figures."""
import concurrent.futures
import threading
import time

import pytest

from support import NOWHERE, TIME, all_pages, error, fields, lane, unique

# ---- claiming ---------------------------------------------------------------------------------------


def test_a_claim_leases_whole_tasks(panel):
    agent, submit = lane(panel)
    ids = [submit(parameters={"n": n})["task_id"] for n in range(3)]
    answer = agent.request("POST", f"/agents/{agent.id}/claim", {"max": 2}).expect(200)
    assert answer.json["count"] == 2
    tasks = answer.data["tasks"]
    assert [t["task_id"] for t in tasks] == ids[:2]
    for n, task in enumerate(tasks):
        assert task["status"] == "running" and task["assigned_agent_id"] == agent.id and task["parameters"] == {"n": n}
        assert task["fence"] == 1 and task["attempt"] == 1 and TIME.match(task["lease_expires_at"]) and TIME.match(task["started_at"])
    assert panel.task(ids[2])["status"] == "pending"


def test_claims_fit_capabilities_and_types(panel):
    agent, submit = lane(panel)
    submit(type="a.one")
    two = submit(type="b.two")
    panel.submit(requirements={"capabilities": [submit.capability, "and-another"]})
    assert [t["task_id"] for t in agent.claim(max=10, types=["b.two", "c"])] == [two["task_id"]]
    assert [t["type"] for t in agent.claim(max=10)] == ["a.one"]
    assert agent.claim(max=10) == []


@pytest.mark.parametrize("body,field", (({"max": 0}, "$.max"), ({"max": 501}, "$.max"), ({"max": "1"}, "$.max"), ({"types": ["A B"]}, "$.types[0]"),
                                        ({"types": "a"}, "$.types"), ({"wait": 5}, "$.wait")))
def test_bad_claims(agents, body, field):
    agent = agents["worker"]
    assert fields(agent.request("POST", f"/agents/{agent.id}/claim", body), field)


@pytest.mark.parametrize("wait", ("-1", "31", "x", "1.5", ""))
def test_bad_waits(agents, wait):
    agent = agents["worker"]
    assert fields(agent.request("POST", f"/agents/{agent.id}/claim?wait={wait}", {}), "query.wait")


def test_no_task_is_claimed_twice(panel):
    agent, submit = lane(panel)
    others = [panel.register_agent(capabilities=[submit.capability]) for _ in range(3)]
    one = {"type": "t", "requirements": {"capabilities": [submit.capability]}}
    items = panel.post("/tasks/batch", {"tasks": [one] * 200}).expect(200).data["items"]
    got, lock = [], threading.Lock()

    def work(who):
        while tasks := who.claim(max=7):
            with lock:
                got.extend(t["task_id"] for t in tasks)
    threads = [threading.Thread(target=work, args=(a,)) for a in [agent, *others] * 2]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(got) == sorted(i["task_id"] for i in items)


def test_priorities(panel):
    agent, submit = lane(panel)
    order = ["low", "medium", "high", "critical", "low", "critical"]
    for priority in order:
        submit(priority=priority)
    assert [agent.claim()[0]["priority"] for _ in order] == ["critical", "critical", "high", "medium", "low", "low"]


def test_first_in_first_out(panel):
    agent, submit = lane(panel)
    ids = [submit()["task_id"] for _ in range(10)]
    assert [t["task_id"] for t in agent.claim(max=10)] == ids


def test_a_waiting_claim_gets_what_comes(panel):
    agent, submit = lane(panel)
    agent.token
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        begin = time.monotonic()
        waiting = pool.submit(agent.claim, wait=10)
        time.sleep(0.3)
        task = submit()
        submitted = time.monotonic()
        got = waiting.result()
        took = time.monotonic() - submitted
    assert [t["task_id"] for t in got] == [task["task_id"]] and took < 0.9, took
    assert time.monotonic() - begin < 5


def test_a_waiting_claim_ends_empty(panel):
    agent, _ = lane(panel)
    begin = time.monotonic()
    assert agent.claim(wait=1) == []
    assert 0.9 < time.monotonic() - begin < 3


# ---- reports and fences -----------------------------------------------------------------------------


def test_completion(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    got = agent.complete(task, {"answer": 42}).expect(200).data
    assert got["status"] == "completed" and got["progress"] == 1 and "tasks" not in got
    after = panel.task(task["task_id"])
    assert after["result"] == {"answer": 42} and TIME.match(after["completed_at"]) and after["lease_expires_at"] is None
    attempt, = after["attempts"]
    assert attempt["outcome"] == "completed" and attempt["agent_id"] == agent.id and attempt["fence"] == 1


@pytest.mark.parametrize("result", (None, 0, "", [], False, {"items": []}, "x" * 5000))
def test_results_come_back_exactly(panel, result):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    agent.request("POST", f"/tasks/{task['task_id']}/complete", {"fence": 1, "result": result}).expect(200)
    assert panel.task(task["task_id"])["result"] == result


def test_repeated_reports_get_the_first_answer(panel):
    agent, submit = lane(panel)
    submit(max_retries=0)
    submit(max_retries=0)
    done, bad = agent.claim(max=2)
    first = agent.complete(done, {"n": 1}).expect(200).data
    again = agent.complete(done, {"n": 2}).expect(200).data
    assert again == first and panel.task(done["task_id"])["result"] == {"n": 1}
    agent.fail(bad).expect(200)
    assert agent.fail(bad).expect(200).data["status"] == "failed"
    assert error(agent.fail(done), 409) and error(agent.complete(bad), 409)


def test_any_other_fence_changes_nothing(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    for fence in (0, 2, 99, 2 ** 62):
        stale = {**task, "fence": fence}
        for report in (agent.progress(stale, 0.9), agent.complete(stale, 1), agent.fail(stale),
                       agent.request("POST", f"/tasks/{task['task_id']}/release", {"fence": fence}),
                       agent.request("POST", f"/tasks/{task['task_id']}/logs", {"fence": fence, "logs": [{"message": "m"}]})):
            assert error(report, 409, "stale_fence")["type"] == "conflict"
    after = panel.task(task["task_id"])
    assert after["status"] == "running" and after["progress"] == 0 and after["logs"] == [] and after["fence"] == 1


def test_release_costs_no_attempt(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    got = agent.request("POST", f"/tasks/{task['task_id']}/release", {"fence": task["fence"]}).expect(200).data
    assert got["status"] == "pending" and got["attempt"] == 0
    error(agent.complete(task), 409)
    again, = agent.claim()
    assert again["task_id"] == task["task_id"] and again["attempt"] == 1 and again["fence"] > task["fence"]


@pytest.mark.parametrize("kind,again", (("network", True), ("timeout", True), ("external_service", True), ("system", False),
                                        ("validation", False), ("my-own-kind", False)))
def test_error_types_decide_about_another_try(panel, kind, again):
    agent, submit = lane(panel)
    submit(retry={"initial_delay_ms": 60000, "jitter": False})
    task, = agent.claim()
    got = agent.fail(task, {"type": kind, "code": "c", "message": "m", "details": {"d": 1}}).expect(200).data
    assert got["status"] == ("retrying" if again else "failed")
    assert got["error"] == {"type": kind, "code": "c", "message": "m", "details": {"d": 1}, "retryable": again}


@pytest.mark.parametrize("where", ("report", "error"))
def test_the_agent_may_overrule_the_type(panel, where):
    agent, submit = lane(panel)
    for retryable in (True, False):
        submit(retry={"initial_delay_ms": 60000})
        task, = agent.claim()
        e = {"type": "network" if not retryable else "system"}
        body = {"fence": task["fence"], "error": {**e, "retryable": retryable}} if where == "error" else \
            {"fence": task["fence"], "error": e, "retryable": retryable}
        got = agent.request("POST", f"/tasks/{task['task_id']}/fail", body).expect(200).data
        assert got["status"] == ("retrying" if retryable else "failed")


@pytest.mark.parametrize("path,body,field", (
    ("complete", {}, "$.fence"), ("complete", {"fence": -1}, "$.fence"), ("complete", {"fence": "1"}, "$.fence"), ("complete", {"fence": 1, "x": 1}, "$.x"),
    ("complete", {"fence": 1, "claim": {"max": 0}}, "$.claim.max"), ("fail", {"fence": 1}, "$.error"), ("fail", {"fence": 1, "error": "x"}, "$.error"),
    ("fail", {"fence": 1, "error": {}}, "$.error.type"), ("progress", {"fence": 1, "progress": 1.1}, "$.progress"),
    ("progress", {"fence": 1, "progress": -0.1}, "$.progress"), ("logs", {"fence": 1, "logs": []}, "$.logs"),
    ("logs", {"fence": 1, "logs": [{"message": "m", "level": "loud"}]}, "$.logs[0].level"), ("release", {}, "$.fence"),
))
def test_bad_reports(agents, path, body, field):
    assert fields(agents["worker"].request("POST", f"/tasks/{NOWHERE}/{path}", body), field)


def test_complete_and_claim_the_next(panel):
    agent, submit = lane(panel)
    for _ in range(4):
        submit(max_retries=0)
    task, = agent.claim()
    got = agent.complete(task, 1, claim={"max": 2}).expect(200).data
    assert got["status"] == "completed" and len(got["tasks"]) == 2 and all(t["status"] == "running" for t in got["tasks"])
    got = agent.fail(got["tasks"][0], claim={"max": 5}).expect(200).data
    assert got["status"] == "failed" and len(got["tasks"]) == 1


def test_progress(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    got = agent.progress(task, 0.25, "a quarter").expect(200).data
    assert got["progress"] == 0.25 and got["message"] == "a quarter" and got["lease_expires_at"] >= task["lease_expires_at"]
    got = agent.request("POST", f"/tasks/{task['task_id']}/progress", {"fence": 1}).expect(200).data
    assert got["progress"] == 0.25 and got["message"] == "a quarter"


def test_logs(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    path = f"/tasks/{task['task_id']}/logs"
    for n in range(0, 130, 10):
        lines = [{"message": f"line {i}", "level": "warn"} for i in range(n, n + 10)]
        assert agent.request("POST", path, {"fence": 1, "logs": lines}).expect(200).data == {"appended": 10}
    lines = all_pages(panel, path + "?limit=40")
    assert [entry["message"] for entry in lines] == [f"line {i}" for i in range(130)]
    assert set(lines[0]) == {"timestamp", "level", "message"} and lines[0]["level"] == "warn" and TIME.match(lines[0]["timestamp"])
    assert [entry["message"] for entry in panel.task(task["task_id"])["logs"]] == [f"line {i}" for i in range(30, 130)]


def test_task_figures(panel):
    agent, submit = lane(panel)
    submit(parameters={"a": 1}, timeout=10)
    task, = agent.claim()
    agent.complete(task, {"b": 2}).expect(200)
    m = panel.get(f"/tasks/{task['task_id']}/metrics").expect(200).data
    assert m["task_id"] == task["task_id"] and m["attempts"] == 1 and 0 <= m["execution_time"] < 5 and 0 <= m["efficiency_score"] <= 1
    assert m["resource_consumption"] == {"parameters_bytes": 8, "result_bytes": 8} and 0 <= m["agent_utilization"] < 1


def test_many_reports_at_once(panel):
    agent, submit = lane(panel)
    for _ in range(5):
        submit(max_retries=0)
    a, b, c, d, e = agent.claim(max=5)
    agent.complete(d, "first").expect(200)
    reports = [{"task_id": a["task_id"], "fence": a["fence"], "result": {"n": 1}},
               {"task_id": b["task_id"], "fence": b["fence"], "error": {"type": "system", "message": "no"}},
               {"task_id": c["task_id"], "fence": 77, "result": 1}, {"task_id": d["task_id"], "fence": d["fence"], "result": "again"},
               {"task_id": NOWHERE, "fence": 1, "result": 1}, {"task_id": e["task_id"], "fence": e["fence"]},
               {"task_id": e["task_id"], "fence": e["fence"], "result": 1, "error": {"type": "x"}}, 7]
    answer = agent.request("POST", "/tasks/complete", {"tasks": reports}).expect(207)
    got = [i["status"] for i in answer.data["items"]]
    assert got == ["completed", "failed", "rejected", "completed", "rejected", "rejected", "rejected", "rejected"]
    codes = [i["error"]["code"] for i in answer.data["items"] if "error" in i]
    assert codes == ["stale_fence", "not_found", "validation_failed", "validation_failed", "validation_failed"]
    assert panel.task(a["task_id"])["result"] == {"n": 1} and panel.task(d["task_id"])["result"] == "first"
    assert panel.task(c["task_id"])["status"] == "running"
    agent.request("POST", "/tasks/complete", {"tasks": [{"task_id": c["task_id"], "fence": c["fence"], "result": 1}]}).expect(200)


def test_result_that_is_too_large(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    e = error(agent.complete(task, "x" * (1 << 20)), 413, "payload_too_large")
    assert e["type"] == "payload_too_large"
    batch = {"tasks": [{"task_id": task["task_id"], "fence": 1, "result": "x" * (1 << 20)}]}
    assert agent.request("POST", "/tasks/complete", batch).expect(207).data["items"][0]["error"]["code"] == "payload_too_large"
    agent.complete(task, "x" * ((1 << 20) - 2)).expect(200)


def test_concurrency_keys(panel):
    agent, submit = lane(panel)
    key = unique("key")
    for _ in range(5):
        submit(concurrency_key=key, concurrency_limit=2)
    held = agent.claim(max=10)
    assert len(held) == 2 and agent.claim(max=10) == []
    for n in range(3):
        agent.complete(held.pop(0)).expect(200)
        held += panel.wait_for(agent.claim, 5, "the key's next task")
        assert agent.claim() == []
