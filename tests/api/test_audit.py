# SPDX-License-Identifier: MIT
"""The audit log: what gets in, what does not, who reads it, and that a chain which was touched shows."""
import concurrent.futures
import datetime
import hashlib
import json
import sqlite3
import time

import pytest

from support import NOWHERE, TIME, all_pages, error, fields, is_uuid, lane, unique

PASSWORD = "a long enough word"
MEMBERS = ["audit_id", "chain_id", "seq", "time", "kind", "action", "outcome", "actor", "actor_kind", "role", "resource_type", "resource_id",
           "classification", "permission", "reason", "ip", "user_agent", "request_id", "prev_hash", "hash"]


def logs(panel, **filters):
    query = "&".join(f"{k}={v}" for k, v in filters.items())
    return panel.get("/audit-logs?limit=500&" + query).expect(200).data


def one(panel, **filters):
    found = logs(panel, **filters)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def person(panel):
    name = unique("person")
    user = panel.post("/users", {"username": name, "password": PASSWORD, "role": "supervisor"}).expect(201).data
    return name, user["user_id"]


@pytest.fixture(scope="module")
def admin(panel):
    return panel.get("/auth/me").data["id"]


def login(panel, name, password=PASSWORD, **more):
    return panel.post("/auth/login", {"username": name, "password": password}, token=None, **more)


# ---- what a record says -----------------------------------------------------------------------------


def test_a_record(panel, admin):
    answer = panel.post("/users", {"username": unique(), "password": PASSWORD, "role": "worker"}, headers={"User-Agent": 'ua/1 "x" ü'.encode()})
    user = answer.expect(201).data["user_id"]
    record = one(panel, resource_id=user)
    assert list(record) == MEMBERS
    assert is_uuid(record["audit_id"]) and is_uuid(record["chain_id"]) and record["seq"] >= 1 and TIME.match(record["time"])
    assert (record["kind"], record["action"], record["outcome"]) == ("config", "user.create", "success")
    assert (record["actor"], record["actor_kind"], record["role"]) == (admin, "user", "admin")
    assert record["resource_type"] == "user" and record["permission"] == "system:config"
    assert record["ip"] == "127.0.0.1" and record["user_agent"] == 'ua/1 "x" ??'
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert one(panel, request_id=record["request_id"])["audit_id"] == record["audit_id"]


def test_hashes_are_what_they_say(panel):
    """Anybody can check a record: its text without the hash, hashed."""
    panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201)
    text = panel.get("/audit-logs?limit=20").expect(200).text
    at = 0
    for record in json.loads(text)["data"]:
        raw = json.dumps({k: v for k, v in record.items() if k != "hash"}, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(raw.encode()).hexdigest() == record["hash"]
        at += 1
    assert at


def test_a_chain_has_no_gaps(panel):
    for _ in range(3):
        panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201)
    chain = logs(panel)[0]["chain_id"]
    records = all_pages(panel, f"/audit-logs?chain_id={chain}&limit=50")[::-1]
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1))
    assert records[0]["prev_hash"] == "0" * 64
    assert all(b["prev_hash"] == a["hash"] for a, b in zip(records, records[1:]))


# ---- what gets in -----------------------------------------------------------------------------------


def test_log_ins_and_their_failures(panel, person):
    name, user = person
    login(panel, name).expect(200)
    error(login(panel, name, "wrong"), 401)
    bad, good = logs(panel, actor=user)
    assert (good["kind"], good["action"], good["outcome"], good["resource_id"]) == ("authentication", "login", "success", user)
    assert (bad["kind"], bad["action"], bad["outcome"], bad["reason"]) == ("authentication", "login", "failure", "authentication_failed")
    assert good["actor_kind"] is None and good["role"] is None      # nobody yet


def test_agents_log_in_too(panel):
    agent = panel.register_agent()
    assert agent.token
    error(panel.post("/auth/token", {"agent_id": agent.id, "auth_token": "wrong"}, token=None), 401)
    assert [(r["action"], r["outcome"]) for r in logs(panel, actor=agent.id)] == [("login", "failure"), ("login", "success")]
    assert one(panel, resource_id=agent.id, action="agent.register")["kind"] == "config"


def test_what_somebody_typed_is_not_kept(panel):
    """Somebody types the password into the name's field: it must not stand in the log for six years."""
    typed = unique("my-secret")
    for _ in range(2):
        answer = error(login(panel, typed, typed + "-password"), 401)
    found = logs(panel, request_id=answer["request_id"])
    assert typed not in json.dumps(found)
    record, = found
    assert record["actor"] == "unknown" and record["resource_id"].startswith("unknown:")
    assert len(logs(panel, resource_id=record["resource_id"])) == 2       # the same name is still seen to be the same


def test_bad_tokens_and_nothing_shown(panel):
    answer = error(panel.get("/auth/me", token="a.b.c"), 401)
    record = one(panel, request_id=answer["request_id"])
    assert (record["kind"], record["action"], record["outcome"], record["actor"]) == ("authentication", "authenticate", "failure", None)
    answer = error(panel.get("/auth/me", token=None), 401)
    assert logs(panel, request_id=answer["request_id"]) == []


def test_refresh_reuse_and_logout(panel, person):
    name, user = person
    first = login(panel, name).expect(200).data
    second = panel.post("/auth/refresh", {"refresh_token": first["refresh_token"]}, token=None).expect(200).data
    panel.post("/auth/refresh", {"refresh_token": second["refresh_token"]}, token=None).expect(200)
    error(panel.post("/auth/refresh", {"refresh_token": first["refresh_token"]}, token=None), 401)
    record = logs(panel, actor=user)[0]
    assert (record["action"], record["outcome"], record["reason"]) == ("refresh", "failure", "refresh_token_reuse")
    assert [r["outcome"] for r in logs(panel, actor=user, action="refresh")] == ["failure", "success", "success"]
    token = login(panel, name).expect(200).data["access_token"]
    panel.post("/auth/logout", {}, token=token).expect(200)
    assert logs(panel, actor=user)[0]["action"] == "logout"


def test_refusals_of_rights(panel, people):
    answer = error(panel.get("/users", token=people["worker"]), 403)
    record = one(panel, request_id=answer["request_id"])
    assert (record["kind"], record["action"], record["outcome"]) == ("authorization", "GET /users", "denied")
    assert record["permission"] == "system:config" and record["reason"] == "permission_denied" and record["role"] == "worker"
    answer = error(panel.post("/tasks", {"type": "x"}, token=people["worker"]), 403)
    assert one(panel, request_id=answer["request_id"])["permission"] == "task:manage"


def test_somebody_else_s_lease(panel, agents):
    _, submit = lane(panel)
    task = submit()
    answer = error(agents["worker"].request("POST", f"/tasks/{task['task_id']}/cancel", {}), 403)
    record = one(panel, request_id=answer["request_id"])
    assert (record["action"], record["resource_id"], record["actor"], record["actor_kind"]) == \
        ("task.cancel", task["task_id"], agents["worker"].id, "agent")


def test_administration(panel, person):
    _, user = person
    panel.put(f"/users/{user}", {"role": "worker"}).expect(200)
    panel.delete(f"/users/{user}").expect(200)
    assert [r["action"] for r in logs(panel, resource_id=user)] == ["user.delete", "user.update", "user.create"]
    assert logs(panel, resource_id=user)[0]["kind"] == "deletion"
    key = panel.post("/api-keys", {"name": "x", "role": "worker"}).expect(201).data
    panel.delete(f"/api-keys/{key['key_id']}").expect(200)
    assert [(r["kind"], r["action"]) for r in logs(panel, resource_id=key["key_id"])] == [("key", "api_key.delete"), ("key", "api_key.create")]
    assert key["key"] not in json.dumps(logs(panel, resource_type="api_key"))
    agent = panel.register_agent()
    panel.post(f"/agents/{agent.id}/drain").expect(200)
    panel.put(f"/agents/{agent.id}", {"enabled": False}).expect(200)
    panel.delete(f"/agents/{agent.id}").expect(200)
    assert [r["action"] for r in logs(panel, resource_id=agent.id)] == ["agent.delete", "agent.update", "agent.drain", "agent.register"]


def test_steering_of_tasks(panel):
    agent, submit = lane(panel)
    task = submit(max_retries=0)["task_id"]
    panel.post(f"/tasks/{task}/delegate", {"agent_id": agent.id}).expect(200)
    panel.post(f"/tasks/{task}/cancel").expect(200)
    panel.post(f"/tasks/{task}/retry").expect(200)
    error(panel.post(f"/tasks/{task}/retry"), 409)
    found = logs(panel, resource_id=task)
    assert [(r["action"], r["outcome"]) for r in found] == \
        [("task.retry", "failure"), ("task.retry", "success"), ("task.cancel", "success"), ("task.delegate", "success")]
    assert found[0]["reason"] == "invalid_state" and {r["kind"] for r in found} == {"steering"}
    agent.fail(agent.claim()[0]).expect(200)
    answer = panel.post("/tasks/dead-letters/retry", {"ids": [task]}).expect(200)
    assert one(panel, request_id=answer.headers["X-Request-ID"])["action"] == "dead_letters.retry"


def test_pipelines_and_runs(panel):
    pipeline = panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one", "capabilities": [unique()]}]}).expect(201).data["pipeline_id"]
    panel.put(f"/pipelines/{pipeline}", {"description": "x"}).expect(200)
    run = panel.post(f"/pipelines/{pipeline}/execute", {}).expect(202).data["execution_id"]
    for verb in ("pause", "resume", "cancel", "retry", "cancel"):
        panel.post(f"/executions/{run}/{verb}").expect(200)
    panel.delete(f"/pipelines/{pipeline}").expect(200)
    assert [r["action"] for r in logs(panel, resource_id=run)] == \
        ["execution.cancel", "execution.retry", "execution.cancel", "execution.resume", "execution.pause"]
    assert [r["action"] for r in logs(panel, resource_id=pipeline)] == ["pipeline.delete", "pipeline.update", "pipeline.create"]


def test_work_leaves_no_trace(panel):
    """What agents do all day long is not for this log."""
    agent, submit = lane(panel)
    assert agent.token
    before = logs(panel)[0]["audit_id"]
    submit()
    task, = agent.claim()
    agent.heartbeat().expect(200)
    agent.progress(task, 0.5).expect(200)
    agent.complete(task).expect(200)
    panel.get(f"/tasks/{task['task_id']}").expect(200)
    assert logs(panel)[0]["audit_id"] == before


def test_a_repeated_request_is_told_once(panel):
    key = {"Idempotency-Key": unique()}
    body = {"name": unique(), "stages": [{"name": "one"}]}
    made = [panel.post("/pipelines", body, headers=key).expect(201).data["pipeline_id"] for _ in range(3)]
    assert len(logs(panel, resource_id=made[0])) == 1


def test_repeated_requests_at_once_are_told_once(panel, admin):
    panel.admin_token
    for path, body, name in (("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}, "pipeline_id"),
                             ("/api-keys", {"name": "x", "role": "worker"}, "key_id"), ("/agents/register", {"name": "x", "type": "worker"}, "agent_id")):
        key = {"Idempotency-Key": unique()}
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: panel.post(path, body, headers=key), range(12)))
        made, = {a.data[name] for a in answers if a.status == 201}
        assert [r["outcome"] for r in logs(panel, resource_id=made)] == ["success"]


def test_limits_are_told_and_limited(new_panel):
    private = new_panel(RATE_LIMIT_ACCOUNT_FAILURES=2)
    private.post("/users", {"username": "victim", "password": PASSWORD, "role": "worker"}).expect(201)
    for _ in range(2):
        error(login(private, "victim", "guess"), 401)
    answer = error(login(private, "victim"), 429)
    record = one(private, request_id=answer["request_id"])
    assert (record["kind"], record["outcome"], record["reason"]) == ("rate_limit", "denied", "rate_limited")
    for _ in range(100):
        panel_answer = private.get("/auth/me", token="a.b.c")
        assert panel_answer.status == 401
    assert 40 <= len(logs(private, action="authenticate")) <= 121       # two windows at most


# ---- many at once -----------------------------------------------------------------------------------


def test_many_at_once_stay_one_chain(panel, people):
    def act(n):
        if n % 2:
            return panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201).data["pipeline_id"]
        return error(panel.get(f"/agents/{NOWHERE}/metrics", token="x.y.z" + str(n)), 401)["request_id"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = list(pool.map(act, range(80)))
    assert len({r["resource_id"] for r in logs(panel, action="pipeline.create")} & set(done)) == 40
    found = panel.get("/audit-logs/verify").expect(200).data
    assert found["verified"] is True and found["problems"] == [] and found["records"] >= 40


# ---- reading it -------------------------------------------------------------------------------------


def test_filters_and_pages(panel, admin):
    kind = "api_key"
    for _ in range(5):
        panel.post("/api-keys", {"name": "x", "role": "worker"}).expect(201)
    found = all_pages(panel, f"/audit-logs?resource_type={kind}&action=api_key.create&actor={admin}&limit=2")
    assert len(found) >= 5 and len({r["audit_id"] for r in found}) == len(found)
    assert [r["audit_id"] for r in found] == sorted((r["audit_id"] for r in found), reverse=True)
    assert {r["action"] for r in found} == {"api_key.create"}
    middle = found[2]["time"]
    assert all(r["time"] >= middle for r in logs(panel, **{"from": middle}))
    assert all(r["time"] < middle for r in logs(panel, to=middle))
    assert logs(panel, kind="nothing-of-the-kind") == [] and logs(panel, actor="nobody") == []
    assert {r["outcome"] for r in logs(panel, outcome="failure")} == {"failure"}
    far = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert logs(panel, **{"from": far}) == []


@pytest.mark.parametrize("query,field", (("limit=501", "query.limit"), ("limit=0", "query.limit"), ("x=1", "query.x"), ("from=yesterday", "query.from"),
                                         ("chain_id=1", "query.chain_id"), ("kind=A%20B", "query.kind")))
def test_bad_queries(panel, query, field):
    assert fields(panel.get("/audit-logs?" + query), field)


def test_cursors_of_others(panel):
    error(panel.get("/audit-logs?cursor=t." + NOWHERE), 400, "bad_cursor")
    error(panel.get("/audit-logs/verify?cursor=au." + NOWHERE), 400, "bad_cursor")


@pytest.mark.parametrize("path", ("/audit-logs", "/audit-logs/verify", "/events", "/alerts"))
def test_only_for_those_who_configure(panel, people, agents, path):
    for role in ("worker", "supervisor"):
        error(panel.get(path, token=people[role]), 403, "permission_denied")
        error(agents[role].request("GET", path), 403)
    error(panel.get(path, token=None), 401)
    for role in ("admin", "system"):
        panel.get(path, token=people[role]).expect(200)


# ---- touching it ------------------------------------------------------------------------------------


def test_what_was_touched_shows(new_panel, store):
    if store != "sqlite":
        pytest.skip("the file is edited by hand")
    private = new_panel()
    for _ in range(9):
        private.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201)
    whole = private.get("/audit-logs/verify").expect(200).data
    assert whole["verified"] is True and whole["records"] >= 9 and whole["next_cursor"] is None
    ids = [r["audit_id"] for r in logs(private, action="pipeline.create")][::-1]

    def problems():
        found = private.get("/audit-logs/verify").expect(200).data
        assert found["verified"] is False and found["problem_count"] == len(found["problems"])
        return {(p["audit_id"], p["problem"]) for p in found["problems"]}
    with sqlite3.connect(private.home + "/mcp.db", timeout=10) as db:
        db.execute("UPDATE audit SET body=replace(body,'pipeline.create','pipeline.delete') WHERE id=?", (ids[1],))
    assert problems() == {(ids[1], "changed")}
    with sqlite3.connect(private.home + "/mcp.db", timeout=10) as db:
        db.execute("UPDATE audit SET s2='somebody' WHERE id=?", (ids[3],))
    assert (ids[3], "index_differs") in problems()
    with sqlite3.connect(private.home + "/mcp.db", timeout=10) as db:
        db.execute("DELETE FROM audit WHERE id=?", (ids[5],))
    assert (ids[6], "records_missing") in problems()
    with sqlite3.connect(private.home + "/mcp.db", timeout=10) as db:
        db.execute("DELETE FROM audit WHERE n2=1")
    assert any(p == "beginning_missing" for _, p in problems())


def test_the_log_outlives_the_processes(new_panel):
    """A new process begins a chain of its own; the old one stays whole."""
    private = new_panel()
    private.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201)
    private.kill("api")
    private.start()
    private.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201)
    assert len({r["chain_id"] for r in logs(private, action="pipeline.create")}) == 2
    found = private.get("/audit-logs/verify").expect(200).data
    assert found["verified"] is True and found["chains"] >= 2
    pages, cursor = 0, ""
    while cursor is not None:
        page = private.get("/audit-logs/verify?limit=1" + cursor).expect(200).data
        assert page["verified"] is True
        cursor = "&cursor=" + page["next_cursor"] if page["next_cursor"] else None
        pages += 1
    assert pages >= 1


def test_refusals_are_answered_though_they_cannot_be_written(new_panel, store):
    if store != "sqlite":
        pytest.skip("the file is locked by hand")
    private = new_panel()
    agent = private.register_agent()
    assert agent.token
    with sqlite3.connect(private.home + "/mcp.db", timeout=10, isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: agent.request("GET", "/users"), range(40)))
        took = time.monotonic() - began
        db.execute("ROLLBACK")
    for answer in answers:
        error(answer, 403, "permission_denied")
    assert took < 30, took
    assert "could not be written" in private.log("api")
    time.sleep(1.1)         # after an outage refusals wait a moment before they try again
    answer = error(agent.request("GET", "/users"), 403)
    assert one(private, request_id=answer["request_id"])["outcome"] == "denied"
    assert private.get("/audit-logs/verify").expect(200).data["verified"] is True
