# SPDX-License-Identifier: MIT
"""What goes out: tasks pushed to endpoints.task, probes of endpoints.health and .status, webhooks; all signed."""
import concurrent.futures
import hashlib
import hmac
import socket
import time

import pytest

from support import TIME, Receiver, error, unique, wait_status

pytestmark = pytest.mark.extended
AT_ONCE = {"initial_delay_ms": 0, "jitter": False}
PATIENCE = 30


def secret(panel):
    with open(panel.home + "/mcp.conf") as f:
        return next(line.split("=", 1)[1].strip() for line in f if line.startswith("WEBHOOK_SECRET"))


def check_signature(panel, got):
    """t=<seconds>,v1=<hex HMAC-SHA-256 of "t.body">"""
    parts = dict(p.split("=", 1) for p in got.headers["X-MCP-Signature"].split(","))
    expected = hmac.new(secret(panel).encode(), parts["t"].encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert abs(int(parts["t"]) - time.time()) < 60
    assert got.headers["Content-Type"] == "application/json"


def pushed_to(panel, url, **more):
    """An agent with an endpoint and a capability nobody else has, and a function that submits tasks for it."""
    capability = unique("push")
    agent = panel.register_agent(capabilities=[capability], endpoints={"task": url, **more.pop("endpoints", {})}, **more)

    def submit(**body):
        return panel.submit("push.test", requirements={"capabilities": [capability]}, **body)
    return agent, submit


# ---- tasks ------------------------------------------------------------------------------------------


def test_200_with_a_result_completes(panel, receiver):
    receiver.always(200, lambda got: {"result": {"echo": got.json["task"]["parameters"]}})
    agent, submit = pushed_to(panel, receiver.url + "/work?x=1")
    task = submit(parameters={"n": 17})
    got = receiver.wait(seconds=PATIENCE)
    assert got.method == "POST" and got.path == "/work?x=1"
    check_signature(panel, got)
    assert got.headers["X-MCP-Event"] == "task.assigned" and got.headers["X-MCP-Delivery"]
    sent = got.json
    assert set(sent) == {"task", "fence"} and sent["fence"] == sent["task"]["fence"] == 1
    assert sent["task"]["task_id"] == task["task_id"] and sent["task"]["assigned_agent_id"] == agent.id
    after = wait_status(panel, task["task_id"], "completed", seconds=PATIENCE)
    assert after["result"] == {"echo": {"n": 17}} and [a["outcome"] for a in after["attempts"]] == ["completed"]
    assert after["assigned_agent_id"] == agent.id and len(receiver.got) == 1


@pytest.mark.parametrize("body,result", (({"result": None}, None), ({"answer": 1}, {"answer": 1}), ([1, 2], [1, 2]), (b'"text"', "text"),
                                         ({"result": [], "more": 1}, [])))
def test_what_counts_as_result(panel, receiver, body, result):
    receiver.always(200, body)
    _, submit = pushed_to(panel, receiver.url)
    assert wait_status(panel, submit()["task_id"], "completed", seconds=PATIENCE)["result"] == result


def test_202_accepts_and_the_agent_reports_later(panel, receiver):
    receiver.always(202)
    agent, submit = pushed_to(panel, receiver.url)
    task = submit()
    fence = receiver.wait(seconds=PATIENCE).json["fence"]
    running = wait_status(panel, task["task_id"], "running", seconds=PATIENCE)
    assert running["attempt"] == 1 and running["fence"] == fence and running["started_at"]
    held = {"task_id": task["task_id"], "fence": fence}
    agent.progress(held, 0.5).expect(200)
    agent.complete(held, {"later": True}).expect(200)
    assert panel.task(task["task_id"])["result"] == {"later": True}


def test_accepted_and_never_reported_goes_back(quick, receiver):
    receiver.always(202)
    with Receiver() as health:      # it lives; only its reports do not come
        _, submit = pushed_to(quick, receiver.url, endpoints={"health": health.url})
        task = submit(max_retries=1, retry=AT_ONCE)
        after = wait_status(quick, task["task_id"], "failed", seconds=PATIENCE)
    assert [a["outcome"] for a in after["attempts"]] == ["lease_expired"] * 2 and after["error"]["code"] == "lease_expired"
    assert [g.json["fence"] for g in receiver.got] == [a["fence"] for a in after["attempts"]]


@pytest.mark.parametrize("status,body", ((500, {}), (404, None), (400, {"error": "no"}), (302, None), (201, {"result": 1}), (204, None), (200, b"no json"),
                                         (200, b"")))
def test_any_other_answer_puts_it_back_under_the_retry_rules(panel, receiver, status, body):
    trap = Receiver()
    with trap:
        receiver.answer(status, body, **({"Location": trap.url} if status == 302 else {}))
        receiver.always(200, {"result": "second time"})
        _, submit = pushed_to(panel, receiver.url)
        task = submit(retry=AT_ONCE)
        after = wait_status(panel, task["task_id"], "completed", seconds=PATIENCE)
        assert trap.got == []           # redirects are not followed
    first, second = after["attempts"]
    assert first["outcome"] == "failed" and first["error"]["type"] == "external_service" and second["outcome"] == "completed"
    assert second["fence"] > first["fence"] and [g.json["fence"] for g in receiver.got] == [first["fence"], second["fence"]]


def test_refused_pushes_use_the_retries_up(panel, receiver):
    receiver.always(503)
    _, submit = pushed_to(panel, receiver.url)
    task = submit(max_retries=2, retry=AT_ONCE)
    after = wait_status(panel, task["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "agent_refused" and "503" in after["error"]["message"]
    assert len(after["attempts"]) == 3 == len(receiver.got)


def test_nobody_listens(panel):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        _, submit = pushed_to(panel, f"http://127.0.0.1:{s.getsockname()[1]}/")
        after = wait_status(panel, submit(max_retries=0)["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["type"] == "network" and after["error"]["code"] == "agent_unreachable"


def test_an_agent_that_hangs(quick, receiver):
    receiver.hang()
    receiver.always(200, {"result": "awake"})
    _, submit = pushed_to(quick, receiver.url)
    after = wait_status(quick, submit(retry=AT_ONCE)["task_id"], "completed", seconds=PATIENCE)
    assert after["result"] == "awake" and receiver.got[-1].json["fence"] > receiver.got[0].json["fence"]


@pytest.mark.parametrize("url", ("http://169.254.169.254/latest/meta-data", "http://192.0.2.1:9/", "http://0.0.0.0:1/", "http://[fe80::1]/"))
def test_addresses_that_are_not_called(panel, url):
    """Refused when it is registered, or when it would be called; never called."""
    capability = unique("push")
    answer = panel.post("/agents/register", {"name": "x", "type": "worker", "capabilities": [capability], "endpoints": {"task": url}})
    if answer.status != 201:
        assert error(answer, 400)["details"][0]["field"] == "$.endpoints.task"
        return
    task = panel.submit(requirements={"capabilities": [capability]}, max_retries=0)
    after = wait_status(panel, task["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "endpoint_not_allowed"


def test_the_outbound_list_holds_for_loopback_too(new_panel, receiver):
    private = new_panel(OUTBOUND_ALLOW="10.0.0.0/8")
    _, submit = pushed_to(private, receiver.url)
    after = wait_status(private, submit(max_retries=0)["task_id"], "failed", seconds=PATIENCE)
    assert after["error"]["code"] == "endpoint_not_allowed" and receiver.got == []


def test_no_more_at_once_than_there_are_slots(panel, receiver):
    receiver.always(202)
    agent, submit = pushed_to(panel, receiver.url, slots=2)
    ids = [submit()["task_id"] for _ in range(5)]
    receiver.wait(2, seconds=PATIENCE)
    for done in range(1, 6):
        n = min(done + 1, 5)
        receiver.wait(n, seconds=PATIENCE)
        time.sleep(0.2)
        assert len(receiver.got) == n
        sent = receiver.got[done - 1].json
        held = {"task_id": sent["task"]["task_id"], "fence": sent["fence"]}
        wait_status(panel, held["task_id"], "running", seconds=PATIENCE)
        agent.complete(held).expect(200)
    assert {g.json["task"]["task_id"] for g in receiver.got} == set(ids)


def test_a_draining_agent_is_not_pushed_to(panel, receiver):
    receiver.always(200, {"result": 1})
    agent, submit = pushed_to(panel, receiver.url)
    panel.post(f"/agents/{agent.id}/drain").expect(200)
    task = submit()
    time.sleep(1)
    assert receiver.got == [] and panel.task(task["task_id"])["status"] == "pending"
    panel.post(f"/agents/{agent.id}/undrain").expect(200)
    wait_status(panel, task["task_id"], "completed", seconds=PATIENCE)


def test_many_pushes(panel, receiver):
    receiver.always(200, lambda got: {"result": got.json["task"]["parameters"]})
    _, submit = pushed_to(panel, receiver.url)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda n: submit(parameters=n), range(100)))
    for n, task in enumerate(tasks):
        assert wait_status(panel, task["task_id"], "completed", seconds=PATIENCE)["result"] == n
    assert len(receiver.got) == 100


# ---- probes -----------------------------------------------------------------------------------------


def test_a_health_probe_that_is_answered_counts_as_heartbeat(quick, receiver):
    receiver.always(200, {"status": "busy", "current_load": 0.25, "metrics": {"queue": 3}})
    agent = quick.register_agent(endpoints={"health": receiver.url + "/health"})
    got = receiver.wait(seconds=PATIENCE)
    assert got.method == "GET" and got.path == "/health"

    def beaten():
        record = quick.get(f"/agents/{agent.id}").data
        return record["status"] == "busy" and record["current_load"] == 0.25 and record
    record = quick.wait_for(beaten, PATIENCE, "the probe's answer", every=0.1)
    assert TIME.match(record["last_heartbeat"])
    receiver.wait(4, seconds=PATIENCE)     # four intervals later it is still alive
    assert quick.get(f"/agents/{agent.id}").data["status"] == "busy"
    assert quick.get(f"/agents/{agent.id}/metrics").data["reported"] == {"queue": 3}


def test_an_agent_whose_probe_fails_is_inactive_and_comes_back(quick, receiver):
    agent = quick.register_agent(endpoints={"health": receiver.url + "/health"})
    agent.heartbeat().expect(200)
    receiver.always(500)

    def status(*wanted):
        return quick.wait_for(lambda: quick.get(f"/agents/{agent.id}").data["status"] in wanted, PATIENCE, f"status {wanted}", every=0.1)
    status("inactive")
    receiver.always(200, {})
    status("active")


def test_the_status_endpoint_feeds_the_health_of_an_agent(quick, receiver):
    receiver.always(200, {"status": "error", "current_load": 0.9})
    agent = quick.register_agent(endpoints={"status": receiver.url + "/status"})

    def seen():
        health = quick.get(f"/agents/{agent.id}/health").data
        return health["overall_health"] == "unhealthy" and health
    health = quick.wait_for(seen, PATIENCE, "the status to arrive", every=0.1)
    assert "reported_error" in {a["code"] for a in health["anomalies"]} and receiver.got[0].path == "/status"


# ---- webhooks ---------------------------------------------------------------------------------------


def run_once(panel, url, end="complete", **notification):
    """A run of one stage that ends so, told to url; the run."""
    capability = unique("hook")
    agent = panel.register_agent(capabilities=[capability])
    body = {"name": unique("hook"), "stages": [{"name": "one", "capabilities": [capability], "max_retries": 0}]}
    pipeline = panel.post("/pipelines", body).expect(201).data
    run = panel.post(f"/pipelines/{pipeline['pipeline_id']}/execute", {"notification": {"webhook": url, **notification}}).expect(202).data
    task, = agent.claim(wait=5)
    if end == "cancel":
        panel.post(f"/executions/{run['execution_id']}/cancel").expect(200)
    else:
        (agent.complete if end == "complete" else agent.fail)(task).expect(200)
    return pipeline, run


@pytest.mark.parametrize("end,status", (("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")))
def test_a_webhook_tells_the_end_of_a_run(panel, receiver, end, status):
    pipeline, run = run_once(panel, receiver.url + "/hook", end)
    got = receiver.wait(seconds=PATIENCE)
    check_signature(panel, got)
    assert got.headers["X-MCP-Event"] == f"pipeline.{status}" and got.headers["X-MCP-Delivery"]
    told = got.json
    assert told["execution_id"] == run["execution_id"] and told["pipeline_id"] == pipeline["pipeline_id"]
    assert told["pipeline_name"] == pipeline["name"] and told["status"] == status and TIME.match(told["completed_at"])
    assert (told["error"] is None) == (end != "fail")
    time.sleep(1.5)
    assert len(receiver.got) == 1


def test_a_webhook_is_tried_again_until_it_is_taken(panel, receiver):
    receiver.answer(500)
    receiver.answer(302, None, Location=receiver.url + "/elsewhere")
    run_once(panel, receiver.url + "/hook")
    got = [receiver.wait(n, seconds=PATIENCE) for n in (1, 2, 3)]
    assert len({g.headers["X-MCP-Delivery"] for g in got}) == 1 and {g.path for g in got} == {"/hook"}
    assert got[0].body == got[1].body == got[2].body
    for g in got:
        check_signature(panel, g)


def test_webhooks_go_only_where_they_may(new_panel, receiver):
    private = new_panel(WEBHOOK_ALLOW="public")
    run_once(private, receiver.url)
    private.wait_for(lambda: "was not delivered" in private.log("scheduler"), PATIENCE, "the refusal in the log")
    assert receiver.got == []


@pytest.mark.parametrize("url", ("ftp://host/x", "file:///etc/passwd", "http://", "//host/x", "http://user:pw@host/", "javascript:1"))
def test_bad_webhook_addresses(panel, url):
    pipeline = panel.post("/pipelines", {"name": unique(), "stages": [{"name": "one"}]}).expect(201).data
    answer = panel.post(f"/pipelines/{pipeline['pipeline_id']}/execute", {"notification": {"webhook": url}})
    assert error(answer, 400)["details"][0]["field"] == "$.notification.webhook"
