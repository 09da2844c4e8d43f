# SPDX-License-Identifier: MIT
"""Bad input of every kind gets the right status and the whole envelope, and nobody dies of it."""
import json
import socket
import time

import pytest

from support import NOWHERE, error, fields, unique

TASK = b'{"type":"x","requirements":{"capabilities":["nobody"]},"parameters":%s}'


@pytest.mark.parametrize("body", (b"{", b"}", b"{]", b"nul", b"'a'", b'{"type":"x",}', b'{"type":"x"}{}', b"\xef\xbb\xbf{}", b'{"a":1,"a":2}',
                                  b'{"type":"\xff"}', b'{"type":"\xc0\xaf"}', b'{"type":"\xed\xa0\x80"}', b'{"type":"\\ud800"}', b'{"type":"a\nb"}',
                                  b'{"timeout":NaN}', b'{"timeout":Infinity}', b'{"timeout":01}', b'{"timeout":1.}', b'{"timeout":+1}', b'{"timeout":0x1}',
                                  b"\x00", b'{"type":"x"}\x00', b"// comment\n{}", TASK % (b"[" * 200 + b"]" * 200), TASK % (b'{"a":' * 200 + b"1" + b"}" * 200),
                                  b"[" * 100000, TASK % (b"1" * 5000)))
def test_bodies_that_are_not_json(panel, body):
    e = error(panel.post("/tasks", body), 400)
    assert e["type"] == "validation" and e["code"] in ("malformed_json", "validation_failed")


@pytest.mark.parametrize("body", (b"[]", b"1", b'"x"', b"null", b"true"))
def test_bodies_that_are_no_objects(panel, body):
    assert fields(panel.post("/tasks", body), "$")


@pytest.mark.parametrize("number", ("9223372036854775808", "-1", "1e400", "1e18", "99999999999999999999999999", "1.0000001", "-0.5"))
def test_numbers_out_of_range(panel, number):
    body = b'{"type":"x","timeout":' + number.encode() + b"}"
    assert error(panel.post("/tasks", body), 400)["details"][0]["field"] == "$.timeout"


@pytest.mark.parametrize("type", ("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "json", ""))
def test_media_types(panel, type):
    answer = panel.request("POST", "/tasks", b'{"type":"x"}', headers={"Content-Type": type})
    assert error(answer, 415, "unsupported_media_type")["type"] == "media_type"


@pytest.mark.parametrize("type", ("application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json"))
def test_spellings_of_json(panel, type):
    body = TASK % b"1"
    panel.request("POST", "/tasks", body, headers={"Content-Type": type}).expect(201)


@pytest.mark.parametrize("bad", ("1", "x", NOWHERE[:-1], NOWHERE + "0", "0190000A-0000-7000-8000-000000000000", "%27%20OR%201=1", "null",
                                 "%E2%80%AE", "*"))
def test_bad_ids(panel, bad):
    for path in ("/tasks/", "/agents/", "/pipelines/", "/executions/", "/users/", "/api-keys/"):
        assert list(fields(panel.get(path + bad)).values()) == ["bad_id"]


@pytest.mark.parametrize("method,path,allow", (("DELETE", "/tasks", "POST, GET"), ("PUT", "/agents", "GET"), ("PATCH", f"/tasks/{NOWHERE}", "GET, PUT"),
                                               ("POST", "/auth/me", "GET"), ("DELETE", "/health", "GET"), ("GET", "/auth/login", "POST"),
                                               ("DELETE", "/tasks/batch", "POST")))
def test_wrong_methods(panel, method, path, allow):
    answer = panel.request(method, path)
    assert error(answer, 405, "method_not_allowed")["type"] == "method"
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize("path", ("/nothing", "/tasks/", f"/tasks/{NOWHERE}/nothing", "/", "/Tasks", f"/tasks/{NOWHERE}/", "//tasks", "/api/v1/tasks"))
def test_unknown_paths(panel, path):
    url = "/api/v1" + path
    assert error(panel.get(url), 404, "route_not_found")["type"] == "not_found"


def test_head_and_options(panel):
    answer = panel.request("HEAD", "/tasks")
    assert answer.status == 200 and answer.body == b""
    answer = panel.request("HEAD", f"/tasks/{NOWHERE}")
    assert answer.status == 404 and answer.body == b""
    answer = panel.request("OPTIONS", "/tasks", token=None)
    assert answer.status == 204 and "POST" in answer.headers["Allow"] and "Access-Control-Allow-Origin" not in answer.headers
    error(panel.request("OPTIONS", "/nothing", token=None), 404)


def test_request_ids(panel):
    answer = panel.get("/tasks?limit=1", headers={"X-Request-ID": "my-own.id:1"})
    assert answer.headers["X-Request-ID"] == "my-own.id:1" == answer.json["request_id"]
    for bad in ("with space", 'quote"', "x" * 129, "ümlaut".encode().decode("latin-1")):
        answer = panel.get("/tasks?limit=1", headers={"X-Request-ID": bad})
        assert answer.status == 200 and answer.headers["X-Request-ID"] != bad and len(answer.headers["X-Request-ID"]) == 36


def test_idempotency_keys(panel):
    key, body = {"Idempotency-Key": unique()}, {"type": "x", "requirements": {"capabilities": ["nobody"]}}
    first = panel.post("/tasks", body, headers=key).expect(201)
    again = panel.post("/tasks", body, headers=key).expect(201)
    assert again.data == first.data and again.headers["Idempotency-Replayed"] == "true"
    error(panel.post("/tasks", {**body, "priority": "low"}, headers=key), 422, "idempotency_key_reused")
    error(panel.post("/tasks", body, headers={"Idempotency-Key": "k" * 129}), 400)
    agent = panel.post("/agents/register", {"name": "x", "type": "worker"}, headers={"Idempotency-Key": unique("a")}).expect(201)
    assert agent.data["auth_token"]
    once = {"Idempotency-Key": unique("r")}
    first = panel.post("/agents/register", {"name": "x", "type": "worker"}, headers=once).expect(201).data
    again = panel.post("/agents/register", {"name": "x", "type": "worker"}, headers=once).expect(201).data
    assert again["agent_id"] == first["agent_id"] and again["auth_token"] is None and again["secret_shown"] is True


def test_rate_limits(new_panel):
    private = new_panel(RATE_LIMIT_API=20)
    token = private.admin_token
    answers = [private.get("/tasks?limit=1", token=token) for _ in range(25)]
    assert answers[0].headers["RateLimit-Limit"] == "20" and int(answers[0].headers["RateLimit-Remaining"]) < 20
    refused = [a for a in answers if a.status == 429]
    assert refused and error(refused[-1], 429, "rate_limited")["type"] == "rate_limit"
    assert int(refused[-1].headers["Retry-After"]) > 0 and refused[-1].headers["RateLimit-Remaining"] == "0"
    private.get("//ready", token=None).expect(200)


def test_slow_requests_get_their_answer(panel):
    body = TASK % b"1"
    head = (f"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.admin_token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode()
    with socket.create_connection((panel.host, panel.port), timeout=10) as s:
        for i in range(0, len(head + body), 40):
            s.sendall((head + body)[i:i + 40])
            time.sleep(0.01)
        got = b""
        while more := s.recv(65536):
            got += more
    assert b" 201 " in got.split(b"\r\n")[0]


def test_system_routes(panel):
    health = panel.get("/health").expect(200).data
    assert health["status"] == "healthy" and set(health["checks"]) == {"database", "redis", "relay", "external_services", "system_resources"}
    assert "checks" not in panel.get("/health", token=None).expect(200).data
    for path in ("/health", "/ready", "/live", "/metrics", "/docs", "/openapi.json"):
        panel.get("/" + path, token=None).expect(200)
        panel.get(path, token=None).expect(200)
    metrics = panel.get("//metrics").text
    for name in ("mcp_tasks_created_total", "mcp_request_duration_seconds_bucket", "mcp_queue_depth", "mcp_agents_active", "mcp_build_info"):
        assert name in metrics, name
    assert set(panel.get("/system/metrics").data) >= {"overall_health", "active_agents", "queued_tasks", "average_response_time_ms", "error_rate"}
    assert {s["name"]: s["state"] for s in panel.get("/discovery/services").data}["scheduler"] == "healthy"
    document = json.loads(panel.get("//openapi.json").body)
    assert document["openapi"] == "3.1.0" and len(document["paths"]) > 50
