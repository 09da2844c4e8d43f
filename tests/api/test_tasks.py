# SPDX-License-Identifier: MIT
"""Tasks before and after they run: submission, batches, lists, changes, cancelling, trying again, handing out."""
import datetime
import json
import threading

import pytest

from support import NOWHERE, TIME, all_pages, error, fields, is_uuid, lane, unique, wait_status

NOBODY = {"requirements": {"capabilities": ["nobody-has-this"]}}


def later(seconds):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()


def create(panel, **body):
    return panel.post("/tasks", {"type": "test", **NOBODY, **body})


# ---- submission -------------------------------------------------------------------------------------


def test_a_plain_task_and_its_defaults(panel):
    answer = create(panel).expect(201)
    task = answer.data
    assert is_uuid(task["task_id"]) and answer.headers["Location"] == f"/api/v1/tasks/{task['task_id']}"
    expected = {"type": "test", "status": "pending", "priority": "medium", "classification": "internal", "parameters": {},
                "dependencies": [], "timeout": 300, "max_retries": 3, "attempt": 0, "fence": 0, "progress": 0, "attempts": [],
                "result": None, "error": None, "message": None, "pipeline_id": None, "execution_id": None, "stage": None,
                "concurrency_key": None, "run_at": None, "deadline": None, "lease_expires_at": None, "assigned_agent_id": None,
                "started_at": None, "completed_at": None, **NOBODY}
    assert {k: task[k] for k in expected} == expected
    assert task["retry"] == {"strategy": "exponential", "initial_delay_ms": 1000, "factor": 2, "max_delay_ms": 60000, "jitter": True,
                             "retryable": ["network", "timeout", "external_service"]}
    assert TIME.match(task["created_at"]) and task["created_at"] == task["updated_at"]
    assert task["created_by"] == panel.get("/auth/me").data["id"]
    stored = panel.get(f"/tasks/{task['task_id']}").expect(200).data
    assert stored.pop("logs") == [] and stored == task


def test_everything_a_task_may_have(panel):
    run_at, deadline = later(3600), later(7200)
    pipeline = panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201).data["pipeline_id"]
    before = create(panel).data["task_id"]
    body = {"type": "image.resize", "parameters": {"a": [1, {"b": None}]}, "priority": "critical", "classification": "confidential",
            "requirements": {"capabilities": ["z", "a"]}, "pipeline_id": pipeline, "stage": 1, "dependencies": [before],
            "concurrency_key": "customer/42", "concurrency_limit": 3, "run_at": run_at, "deadline": deadline, "timeout": 12,
            "max_retries": 7, "retry": {"strategy": "linear", "initial_delay_ms": 5, "factor": 3.5, "max_delay_ms": 50,
                                        "jitter": False, "retryable": ["system"]}}
    task = panel.post("/tasks", body).expect(201).data
    for same in ("type", "parameters", "priority", "classification", "pipeline_id", "stage", "dependencies", "concurrency_key",
                 "concurrency_limit", "timeout", "max_retries", "retry"):
        assert task[same] == body[same], same
    assert sorted(task["requirements"]["capabilities"]) == ["a", "z"]
    for name in ("run_at", "deadline"):
        assert task[name] == datetime.datetime.fromisoformat(body[name]).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_older_spellings(panel):
    task = panel.post("/tasks", {"task_type": "old", "payload": {"x": 1}, "retry_count": 5, **NOBODY}).expect(201).data
    assert task["type"] == "old" and task["parameters"] == {"x": 1} and task["max_retries"] == 5
    assert "task_type" not in task and "payload" not in task and "retry_count" not in task
    found = fields(panel.post("/tasks", {"type": "a", "task_type": "b", **NOBODY}))
    assert set(found.values()) == {"duplicate"}


@pytest.mark.parametrize("value", ({}, [], "text", 0, -0.5, 1e300, True, None, "", [[]], {"": ""}, {"a.b": {"$set": 1}},
                                   {"$where": "1", "$ref": 1}, 9007199254740993, 123456789012345678901234567890,
                                   "\u0000\u001f\u2028𝄞\\\"/", {"k" * 300: "v" * 3000}))
def test_parameters_come_back_exactly(panel, value):
    task = create(panel, parameters=value).expect(201).data
    stored = panel.task(task["task_id"])["parameters"]
    assert stored == value and type(stored) is type(value)


def test_parameters_are_kept_byte_for_byte(panel):
    raw = '{"b":1.0,"a":1e2,"n":12345678901234567890.10,"u":"\\u00e9"}'
    body = '{"type":"test","requirements":{"capabilities":["nobody-has-this"]},"parameters":' + raw + "}"
    answer = panel.post("/tasks", body.encode()).expect(201)
    assert raw in panel.get(f"/tasks/{answer.data['task_id']}").text


def test_every_bad_field_is_named(panel):
    body = {"type": "Not A Slug", "parameters": {}, "priority": "urgent", "classification": "top", "requirements": {"capabilities": "x", "gpu": 1},
            "pipeline_id": "17", "stage": 7, "dependencies": ["x", NOWHERE, NOWHERE], "concurrency_key": "", "concurrency_limit": 0,
            "run_at": "tomorrow", "deadline": 12, "timeout": 0, "max_retries": -1, "status": "completed", "task_id": NOWHERE,
            "retry": {"strategy": "wild", "initial_delay_ms": -1, "factor": 0.5, "max_delay_ms": 1e9, "jitter": 1, "retryable": "all",
                      "extra": 1}}
    found = fields(panel.post("/tasks", body))
    assert set(found) == {"$.type", "$.priority", "$.classification", "$.requirements.capabilities", "$.requirements.gpu",
                          "$.pipeline_id", "$.stage", "$.dependencies[0]", "$.dependencies[2]", "$.concurrency_key",
                          "$.concurrency_limit", "$.run_at", "$.deadline", "$.timeout", "$.max_retries", "$.status", "$.task_id",
                          "$.retry.strategy", "$.retry.initial_delay_ms", "$.retry.factor", "$.retry.max_delay_ms",
                          "$.retry.jitter", "$.retry.retryable", "$.retry.extra"}


@pytest.mark.parametrize("body,field", (
    ({"type": ""}, "$.type"), ({"type": "x" * 65}, "$.type"), ({"type": 7}, "$.type"), ({"timeout": 1.5}, "$.timeout"),
    ({"timeout": "5"}, "$.timeout"), ({"timeout": 604801}, "$.timeout"), ({"max_retries": 101}, "$.max_retries"),
    ({"concurrency_key": "k" * 201}, "$.concurrency_key"), ({"stage": 0}, "$.stage"), ({"deadline": "2020-01-01T00:00:00Z"}, "$.deadline"),
    ({"deadline": "2020-13-01T00:00:00Z"}, "$.deadline"), ({"run_at": "2026-01-01"}, "$.run_at"), ({"dependencies": [NOWHERE]}, "$.dependencies[0]"),
    ({"pipeline_id": NOWHERE}, "$.pipeline_id"), ({"retry": []}, "$.retry"), ({"requirements": {"capabilities": ["a", "a"]}}, "$.requirements.capabilities[1]"),
    ({"requirements": {"capabilities": [f"c{i}" for i in range(65)]}}, "$.requirements.capabilities"),
    ({"wait": 5}, "$.wait"), ({"retry": {"retryable": ["nonsense"]}}, "$.retry.retryable[0]"),
))
def test_bad_values(panel, body, field):
    assert fields(create(panel, **body), field)


def test_type_is_required(panel):
    assert fields(panel.post("/tasks", {}), "$.type") == {"$.type": "required"}
    assert fields(panel.post("/tasks", {"type": None}), "$.type")


def test_run_at_has_to_come_before_the_deadline(panel):
    assert fields(create(panel, run_at=later(60), deadline=later(30)), "$.run_at")


def test_times_with_offsets(panel):
    task = create(panel, run_at="2050-01-01T12:00:00.5+02:00").expect(201).data
    assert task["run_at"] == "2050-01-01T10:00:00.500Z"
    assert create(panel, run_at="2020-02-29T00:00:00Z").expect(201).data["status"] == "pending"
    assert fields(create(panel, run_at="2021-02-29T00:00:00Z"), "$.run_at")


@pytest.mark.parametrize("text", ("postgres://u:pw@h/db", "see mongodb://a:b@c", "https://x:y@z/"))
def test_secrets_in_uris_are_refused(panel, text):
    assert fields(create(panel, parameters={"deep": [{"dsn": text}]}), "$.parameters") == {"$.parameters": "secret_in_uri"}


@pytest.mark.parametrize("text", ("https://host/path?mail=a@b.c:d", "s3://bucket/key", "time 12:30@noon ://", "user@host:22"))
def test_other_uris_pass_untouched(panel, text):
    task = create(panel, parameters={"uri": text}).expect(201).data
    assert panel.task(task["task_id"])["parameters"] == {"uri": text}


def test_a_deadline_that_passes_ends_it_later(panel):
    assert create(panel, deadline=later(3600)).expect(201).data["deadline"]


# ---- dependencies at submission ---------------------------------------------------------------------


def test_dependency_that_is_done_is_no_obstacle(panel):
    agent, submit = lane(panel)
    first = submit()
    agent.complete(agent.claim()[0]).expect(200)
    second = submit(dependencies=[first["task_id"]])
    assert [t["task_id"] for t in agent.claim()] == [second["task_id"]]


@pytest.mark.parametrize("end", ("failed", "cancelled"))
def test_dependency_that_failed_is_refused(panel, end):
    agent, submit = lane(panel)
    first = submit(max_retries=0)
    if end == "failed":
        agent.fail(agent.claim()[0]).expect(200)
    else:
        panel.post(f"/tasks/{first['task_id']}/cancel").expect(200)
    e = error(create(panel, dependencies=[first["task_id"]]), 422, "unprocessable")
    assert end in e["message"]


# ---- batches ----------------------------------------------------------------------------------------


def test_a_good_batch(panel):
    agent, submit = lane(panel)
    one = {"type": "b", "requirements": {"capabilities": [submit.capability]}}
    answer = panel.post("/tasks/batch", {"tasks": [{**one, "parameters": i} for i in range(100)]}).expect(200)
    items = answer.data["items"]
    assert answer.json["count"] == 100 and [i["index"] for i in items] == list(range(100))
    assert all(i["status"] == "pending" and "error" not in i for i in items)
    got = agent.claim(max=100)
    assert {t["task_id"]: t["parameters"] for t in got} == {i["task_id"]: i["index"] for i in items}


def test_a_mixed_batch_takes_what_is_good(panel):
    good = {"type": "b", **NOBODY}
    answer = panel.post("/tasks/batch", {"tasks": [good, {"type": "B A D"}, 7, {**good, "dependencies": [NOWHERE]}, {**good, "x": 1}, None,
                                                   good]}).expect(207)
    items = answer.data["items"]
    assert [i["status"] for i in items] == ["pending", "rejected", "rejected", "rejected", "rejected", "rejected", "pending"]
    assert items[1]["task_id"] is None and items[1]["error"]["type"] == "validation"
    assert items[1]["error"]["details"][0]["field"] == "$.type"
    assert items[3]["error"]["details"][0]["field"] == "$.dependencies[0]"
    assert items[4]["error"]["details"][0] == {"field": "$.x", "code": "unknown_field", "message": items[4]["error"]["details"][0]["message"]}
    for i in (0, 6):
        panel.get(f"/tasks/{items[i]['task_id']}").expect(200)


@pytest.mark.parametrize("body,field", (({}, "$.tasks"), ({"tasks": []}, "$.tasks"), ({"tasks": {}}, "$.tasks"), ({"tasks": None}, "$.tasks"),
                                        ({"tasks": [{}], "x": 1}, "$.x"), ({"tasks": [{"type": "x"}] * 1001}, "$.tasks")))
def test_bad_batches(panel, body, field):
    assert fields(panel.post("/tasks/batch", body), field)


def test_a_batch_is_an_object(panel):
    assert fields(panel.post("/tasks/batch", [1]), "$")


def test_the_largest_batch(panel):
    answer = panel.post("/tasks/batch", {"tasks": [{"type": "b", **NOBODY}] * 1000}).expect(200)
    assert len({i["task_id"] for i in answer.data["items"]}) == 1000


# ---- lists ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(panel):
    """Tasks of one type in every state, and who holds them."""
    kind = unique("shelf")
    agent, submit = lane(panel)
    ids = {}

    def make(name, **body):
        ids[name] = submit(type=kind, max_retries=0, **body)["task_id"]
    for name in ("completed", "failed", "running"):
        make(name, priority="critical")
        task, = agent.claim()
        if name != "running":
            (agent.complete if name == "completed" else agent.fail)(task).expect(200)
    make("retrying", retry={"retryable": ["system"], "initial_delay_ms": 86400000, "max_delay_ms": 86400000, "jitter": False}, priority="critical")
    panel.put(f"/tasks/{ids['retrying']}", {"max_retries": 1}).expect(200)
    agent.fail(agent.claim()[0]).expect(200)
    make("cancelled")
    panel.post(f"/tasks/{ids['cancelled']}/cancel").expect(200)
    make("assigned")
    panel.post(f"/tasks/{ids['assigned']}/delegate", {"agent_id": agent.id}).expect(200)
    make("pending", priority="low")
    return kind, agent, ids


@pytest.mark.parametrize("state", ("completed", "failed", "running", "retrying", "cancelled", "assigned", "pending"))
def test_filter_by_state(panel, shelf, state):
    kind, _, ids = shelf
    assert [t["task_id"] for t in panel.get(f"/tasks?type={kind}&status={state}").expect(200).data] == [ids[state]]


def test_filters(panel, shelf):
    kind, agent, ids = shelf

    def names(query):
        by_id = {v: k for k, v in ids.items()}
        return [by_id[t["task_id"]] for t in panel.get(f"/tasks?type={kind}&{query}").expect(200).data]
    assert names("") == ["pending", "assigned", "cancelled", "retrying", "running", "failed", "completed"]      # newest first
    assert names("status=retry") == ["retrying"]
    assert names("status=failed,completed") == ["failed", "completed"]
    assert names("priority=low") == ["pending"]
    assert names("priority=low,critical") == ["pending", "retrying", "running", "failed", "completed"]
    assert set(names(f"agent_id={agent.id}")) == {"completed", "failed", "running", "assigned", "retrying"}
    assert set(names(f"assigned_agent_id={agent.id}&status=running,assigned")) == {"running", "assigned"}
    me = panel.get("/auth/me").data["id"]
    assert len(names(f"created_by={me}")) == 7 and names(f"created_by={agent.id}") == []
    middle = panel.task(ids["running"])["created_at"]
    assert "running" in names(f"created_from={middle}") and "completed" not in names(f"created_from={middle}")
    assert names(f"created_to={middle}")[-1] == "completed" and "running" not in names(f"created_to={middle}")
    assert names(f"created_from={middle}&created_to={middle}") == []
    assert names(f"pipeline_id={NOWHERE}") == [] and names(f"execution_id={NOWHERE}") == [] and names("stage=3") == []
    assert panel.get(f"/tasks?task_type={kind}&limit=1").json["count"] == 1


def test_lists_leave_payloads_out(panel, shelf):
    kind, _, _ = shelf
    for task in panel.get(f"/tasks?type={kind}").data:
        assert not {"parameters", "result", "attempts", "requirements", "dependencies"} & set(task)


@pytest.mark.parametrize("query,field", (("status=done", "status"), ("priority=1", "priority"), ("agent_id=x", "agent_id"), ("stage=7", "stage"),
                                         ("created_from=yesterday", "created_from"), ("limit=0", "limit"), ("limit=501", "limit"),
                                         ("unknown=1", "unknown"), ("status=failed&status=pending", "status"), ("type=A+B", "type")))
def test_bad_filters(panel, query, field):
    assert fields(panel.get("/tasks?" + query), f"query.{field}")


def test_pages_hold_still_under_inserts(panel):
    """Newest first, page by page, while others submit: nothing twice, nothing left out."""
    kind = unique("pages")
    ids = [create(panel, type=kind).data["task_id"] for _ in range(23)]
    stop = threading.Event()

    def insert():
        while not stop.is_set():
            create(panel, type=kind).expect(201)
    writers = [threading.Thread(target=insert) for _ in range(2)]
    for w in writers:
        w.start()
    try:
        seen, cursor = [], ""
        while True:
            page = panel.get(f"/tasks?type={kind}&limit=4{cursor}").expect(200).json
            seen += [t["task_id"] for t in page["data"]]
            if not page["next_cursor"]:
                break
            cursor = "&cursor=" + page["next_cursor"]
    finally:
        stop.set()
        for w in writers:
            w.join()
    assert len(seen) == len(set(seen)) and seen == sorted(seen, reverse=True)
    assert seen[-23:] == ids[::-1]


def test_page_sizes(panel):
    kind = unique("sizes")
    for _ in range(5):
        create(panel, type=kind)
    for limit in (1, 2, 4, 5, 6):
        assert len(all_pages(panel, f"/tasks?type={kind}&limit={limit}")) == 5
    page = panel.get(f"/tasks?type={kind}&limit=5").json
    assert page["count"] == 5 and page["next_cursor"] is None
    for _ in range(60):
        create(panel, type=kind)
    assert panel.get(f"/tasks?type={kind}").json["count"] == 50


def test_cursors_of_other_lists_are_refused(panel):
    kind = unique("kind")
    for _ in range(2):
        panel.register_agent(type=kind)
        create(panel, type=kind)
    other = panel.get(f"/agents?type={kind}&limit=1").json["next_cursor"]
    own = panel.get(f"/tasks?type={kind}&limit=1").json["next_cursor"]
    for cursor in (other, own[:-1], own + "AAAA", "x", "%20", "a" * 600, "dDp4", own.swapcase()):
        answer = panel.get(f"/tasks?cursor={cursor}")
        assert error(answer, 400)["code"] in ("bad_cursor", "validation_failed"), cursor


# ---- reading one ------------------------------------------------------------------------------------


def test_short_form(panel):
    task = create(panel).data
    short = panel.get(f"/tasks/{task['task_id']}/status").expect(200).data
    assert set(short) == {"task_id", "status", "progress", "attempt", "fence", "assigned_agent_id", "message", "error",
                          "lease_expires_at", "updated_at"}
    assert short["status"] == "pending" and short["progress"] == 0 and short["assigned_agent_id"] is None


# ---- changing ---------------------------------------------------------------------------------------


def test_what_may_still_change(panel):
    task = create(panel).data
    path, deadline = f"/tasks/{task['task_id']}", later(7200)
    changed = panel.put(path, {"priority": "low", "timeout": 17, "max_retries": 9, "deadline": deadline}).expect(200).data
    assert changed["priority"] == "low" and changed["timeout"] == 17 and changed["max_retries"] == 9 and changed["deadline"]
    assert changed["updated_at"] >= task["updated_at"] and changed["type"] == task["type"]
    assert panel.put(path, {"retry_count": 2}).expect(200).data["max_retries"] == 2
    stored = panel.task(task["task_id"])
    assert stored["priority"] == "low" and stored["max_retries"] == 2


@pytest.mark.parametrize("body,field", (({}, "$"), ({"type": "x"}, "$.type"), ({"parameters": {}}, "$.parameters"), ({"status": "completed"}, "$.status"),
                                        ({"deadline": "2020-01-01T00:00:00Z"}, "$.deadline"), ({"priority": "x"}, "$.priority"),
                                        ({"timeout": 0}, "$.timeout"), ({"run_at": "x"}, "$.run_at")))
def test_what_may_not_change(panel, body, field):
    task = create(panel).data
    assert fields(panel.put(f"/tasks/{task['task_id']}", body), field)


def test_run_at_may_not_pass_the_deadline(panel):
    task = create(panel, deadline=later(60)).data
    assert fields(panel.put(f"/tasks/{task['task_id']}", {"run_at": later(120)}), "$.run_at")


def test_no_changes_once_it_runs(panel, shelf):
    _, _, ids = shelf
    for state in ("assigned", "running", "retrying", "completed", "failed", "cancelled"):
        e = error(panel.put(f"/tasks/{ids[state]}", {"priority": "high"}), 409, "invalid_state")
        assert state in e["message"]


def test_a_changed_priority_counts(panel):
    agent, submit = lane(panel)
    first, second = submit(), submit()
    panel.put(f"/tasks/{second['task_id']}", {"priority": "critical"}).expect(200)
    assert [t["task_id"] for t in agent.claim(max=2)] == [second["task_id"], first["task_id"]]


def test_run_at_put_off_and_brought_forward(panel):
    agent, submit = lane(panel)
    task = submit()
    panel.put(f"/tasks/{task['task_id']}", {"run_at": later(3600)}).expect(200)
    assert agent.claim() == []
    panel.put(f"/tasks/{task['task_id']}", {"run_at": later(-1)}).expect(200)
    assert panel.wait_for(agent.claim, 5, "the task to become claimable")[0]["task_id"] == task["task_id"]


# ---- cancelling -------------------------------------------------------------------------------------


def test_cancel_a_waiting_task(panel):
    agent, submit = lane(panel)
    task = submit()
    got = panel.post(f"/tasks/{task['task_id']}/cancel").expect(200).data
    assert got["status"] == "cancelled" and TIME.match(got["completed_at"])
    assert agent.claim() == []
    assert panel.post(f"/tasks/{task['task_id']}/cancel").expect(200).data["status"] == "cancelled"


def test_cancel_fences_off_who_works_on_it(panel):
    agent, submit = lane(panel)
    submit()
    task, = agent.claim()
    panel.post(f"/tasks/{task['task_id']}/cancel").expect(200)
    for report in (agent.progress(task, 0.5), agent.complete(task), agent.fail(task)):
        assert error(report, 409)["type"] == "conflict"
    after = panel.task(task["task_id"])
    assert after["status"] == "cancelled" and after["result"] is None and after["attempts"][0]["outcome"] == "cancelled"


def test_what_has_ended_is_not_cancelled(panel, shelf):
    _, _, ids = shelf
    for state in ("completed", "failed"):
        error(panel.post(f"/tasks/{ids[state]}/cancel"), 409, "invalid_state")


# ---- trying again, dead letters -----------------------------------------------------------------------


def dead(panel, agent, submit, **body):
    submit(max_retries=0, **body)
    task, = agent.claim()
    agent.fail(task).expect(200)
    return task["task_id"]


def test_a_failed_task_is_tried_again(panel):
    agent, submit = lane(panel)
    task_id = dead(panel, agent, submit)
    got = panel.post(f"/tasks/{task_id}/retry").expect(200).data
    assert got["status"] == "pending" and got["error"] is None and got["attempt"] == 0 and got["completed_at"] is None
    task, = agent.claim()
    assert task["task_id"] == task_id and task["attempt"] == 1 and task["fence"] > 1
    agent.complete(task, {"ok": True}).expect(200)
    after = panel.task(task_id)
    assert after["status"] == "completed" and [a["outcome"] for a in after["attempts"]] == ["failed", "completed"]


def test_a_cancelled_task_is_tried_again(panel):
    agent, submit = lane(panel)
    task = submit()
    panel.post(f"/tasks/{task['task_id']}/cancel").expect(200)
    panel.post(f"/tasks/{task['task_id']}/retry").expect(200)
    assert len(agent.claim()) == 1


@pytest.mark.parametrize("state", ("pending", "assigned", "running", "completed", "retrying"))
def test_what_is_not_over_is_not_tried_again(panel, shelf, state):
    _, _, ids = shelf
    error(panel.post(f"/tasks/{ids[state]}/retry"), 409, "invalid_state")


def test_dead_letters(panel):
    agent, submit = lane(panel)
    kind = unique("dead")
    ids = [dead(panel, agent, submit, type=kind) for _ in range(5)]
    listed = all_pages(panel, f"/tasks/dead-letters?type={kind}&limit=2")
    assert [t["task_id"] for t in listed] == ids[::-1]
    assert all(t["status"] == "failed" and t["error"]["code"] == "test_failure" for t in listed)
    assert panel.get(f"/tasks/dead-letters?type={kind}&agent_id={agent.id}&priority=medium").json["count"] == 5
    assert panel.post("/tasks/dead-letters/retry", {"ids": ids[:2] + [NOWHERE]}).expect(200).data == {"retried": 2}
    assert panel.post("/tasks/dead-letters/retry", {"ids": ids[:2]}).expect(200).data == {"retried": 0}
    assert panel.post("/tasks/dead-letters/retry", {"filter": {"type": kind}, "limit": 1}).expect(200).data == {"retried": 1}
    assert panel.post("/tasks/dead-letters/retry", {"filter": {"type": kind, "priority": "low"}}).expect(200).data == {"retried": 0}
    assert panel.post("/tasks/dead-letters/retry", {"filter": {"type": kind}}).expect(200).data == {"retried": 2}
    assert {t["task_id"] for t in agent.claim(max=10)} == set(ids)
    assert panel.get(f"/tasks/dead-letters?type={kind}").data == []


@pytest.mark.parametrize("body,field", (({}, "$"), ({"ids": []}, "$.ids"), ({"ids": ["x"]}, "$.ids[0]"), ({"ids": [NOWHERE], "filter": {}}, "$.filter"),
                                        ({"filter": {"status": "failed"}}, "$.filter.status"), ({"limit": 5}, "$.ids")))
def test_bad_dead_letter_calls(panel, body, field):
    assert fields(panel.post("/tasks/dead-letters/retry", body), field)


# ---- handing out ------------------------------------------------------------------------------------


def test_delegate_to_a_named_agent(panel):
    agent, submit = lane(panel)
    other = panel.register_agent(capabilities=[submit.capability])
    task = submit()
    got = panel.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": agent.id}).expect(200).data
    assert got["status"] == "assigned" and got["assigned_agent_id"] == agent.id and got["fence"] == 1 and got["attempt"] == 0
    assert TIME.match(got["lease_expires_at"]) and got["started_at"] is None
    assert other.claim() == []
    got = agent.progress(got, 0.1).expect(200).data
    assert got["status"] == "running" and got["attempt"] == 1
    agent.complete(panel.task(task["task_id"])).expect(200)


def test_delegate_by_the_older_name(panel):
    agent, submit = lane(panel)
    task = submit()
    panel.post(f"/tasks/{task['task_id']}/delegate", {"assigned_agent": agent.id}).expect(200)


def test_why_an_agent_cannot_have_it(panel):
    agent, submit = lane(panel, slots=1)
    stranger = panel.register_agent()

    def why(who, **body):
        task = submit(**body)
        return error(panel.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": who.id}), 409, "no_suitable_agent")["message"]
    assert "capability" in why(stranger)
    assert "cleared" in why(agent, classification="confidential")
    agent.claim()
    assert "slot" in why(agent)
    panel.post(f"/agents/{agent.id}/drain").expect(200)
    assert "draining" in why(agent)
    panel.put(f"/agents/{agent.id}", {"enabled": False}).expect(200)
    assert "disabled" in why(agent)
    error(panel.post(f"/tasks/{submit()['task_id']}/delegate", {"agent_id": NOWHERE}), 404)


def test_what_is_not_ready_is_not_handed_out(panel, shelf):
    agent, submit = lane(panel)
    for body, word in (({"run_at": later(3600)}, "time"), ({"dependencies": [create(panel).data["task_id"]]}, "dependencies")):
        task = submit(**body)
        e = error(panel.post(f"/tasks/{task['task_id']}/delegate", {"agent_id": agent.id}), 409, "invalid_state")
        assert word in e["message"]
        error(panel.post(f"/tasks/{task['task_id']}/assign", {}), 409, "invalid_state")
    key = unique()
    submit(concurrency_key=key)
    waiting = submit(concurrency_key=key)
    assert "key" in error(panel.post(f"/tasks/{waiting['task_id']}/delegate", {"agent_id": agent.id}), 409)["message"]
    for state in ("assigned", "running", "completed", "cancelled"):
        error(panel.post(f"/tasks/{shelf[2][state]}/delegate", {"agent_id": agent.id}), 409, "invalid_state")


def test_assign_to_the_fittest(panel):
    agent, submit = lane(panel)
    idle = panel.register_agent(capabilities=[submit.capability])
    agent.heartbeat(current_load=0.7).expect(200)
    idle.heartbeat(current_load=0.2).expect(200)
    got = panel.post(f"/tasks/{submit()['task_id']}/assign", {}).expect(200).data
    assert got["status"] == "assigned" and got["assigned_agent_id"] == idle.id
    body = {"criteria": {"capabilities": [submit.capability], "max_load": 0.5}}
    assert panel.post(f"/tasks/{submit()['task_id']}/assign", body).expect(200).data["assigned_agent_id"] == idle.id
    idle.heartbeat(current_load=0.9).expect(200)
    got = panel.post(f"/tasks/{submit()['task_id']}/assign", {}).expect(200).data
    assert got["assigned_agent_id"] == agent.id


def test_assign_says_why_nobody_fits(panel):
    capability = unique()
    task = panel.submit(requirements={"capabilities": [capability]}, classification="confidential")
    path = f"/tasks/{task['task_id']}/assign"
    error(panel.post(path, {"criteria": {"capabilities": [capability]}}), 409, "no_suitable_agent")
    agent = panel.register_agent(capabilities=[capability])
    e = error(panel.post(path, {"criteria": {"capabilities": [capability]}}), 409, "no_suitable_agent")
    reason, = e["details"]["reasons"]
    assert reason["agent_id"] == agent.id and "cleared" in reason["reason"]
    assert fields(panel.post(path, {"criteria": {"max_load": 2, "x": 1}}), "$.criteria.max_load", "$.criteria.x")


def test_events_tell_of_everything(panel):
    """What happened to a task stands in the event stream, without its payload."""
    marker = unique("payload")
    agent, submit = lane(panel)
    task = submit(parameters={"m": marker})
    agent.complete(agent.claim()[0], {"m": marker}).expect(200)
    wait_status(panel, task["task_id"], "completed")
    socket_path = open(panel.home + "/run/runtime").read().strip() + "/redis.sock"

    def types():
        found = [e for e in stream(socket_path) if e[1].get("task_id") == task["task_id"]]
        assert marker not in json.dumps(found)
        return [t for t, _ in found] if len(found) >= 3 else None
    assert panel.wait_for(types, 3, "the events") == ["task.created", "task.assigned", "task.completed"]


def stream(path):
    """(type, data) of the events kept, oldest first."""
    import subprocess
    out = subprocess.run(["redis-cli", "-s", path, "--json", "XREVRANGE", "{mcp}:events", "+", "-", "COUNT", "400"],
                         capture_output=True, text=True, timeout=10).stdout
    events = []
    for _, values in reversed(json.loads(out)):
        event = json.loads('{"id":"' + values[values.index("e") + 1])
        events.append((event["type"], event["data"]))
    return events
