# SPDX-License-Identifier: MIT
"""What the web server in front does: passes on, routes, and refuses in the API's own words."""
import http.client
import json
import socket
import threading
import time

import pytest

AUTH = "Authorization: Bearer not-a-token\r\n"


def raw(panel, data, seconds=10):
    """(status, headers, body) of whatever bytes on a connection of their own get."""
    with socket.create_connection((panel.host, panel.port), timeout=seconds) as s:
        s.sendall(data)
        answer = http.client.HTTPResponse(s)
        answer.begin()
        while answer.status == 100:
            answer.begin()
        body = answer.read()
    return answer.status, {k.lower(): v for k, v in answer.headers.items()}, body


def envelope(status, headers, body):
    """The error of an answer, which has to be an envelope."""
    assert headers["content-type"].startswith("application/json"), (status, headers, body[:200])
    answer = json.loads(body)
    assert answer["success"] is False
    assert set(answer["error"]) >= {"type", "code", "message", "details", "timestamp", "request_id"}
    assert answer["error"]["message"]
    return answer["error"]


REFUSED = {
    "garbage": (b"garbage\r\n\r\n", {400}),
    "no host": (b"GET /api/v1/tasks HTTP/1.1\r\n\r\n", {400}),
    "space in the path": (b"GET /api/v1/a b c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 404}),
    "version from the future": (b"GET /api/v1/nothing HTTP/7.0\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 401, 404, 505}),
    "length that is no number": (b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", {400}),
    "negative length": (b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", {400}),
    "bad chunk": (b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", {400}),
    "huge header": (b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40000 + b"\r\n\r\n", {400, 431}),
    "huge address": (b"GET /api/v1/" + b"a" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414, 431}),
    "unknown method": (b"FOO /api/v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {405, 501}),
    "trace": (b"TRACE /api/v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {405, 501}),
    "null in the path": (b"GET /api/v1/tasks/a%00b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 401, 404}),
    "slash in an id": (b"GET /api/v1/tasks/a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 401, 404}),
    "broken escape": (b"GET /api/v1/tasks/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 401, 404}),
    "no such file": (b"GET /nothing.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404}),
    "out of the tree": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 404}),
    "out of the tree, escaped": (b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 404}),
    "another version of the API": (b"GET /api/v2/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_envelopes(panel, name):
    data, statuses = REFUSED[name]
    status, headers, body = raw(panel, data)
    assert status in statuses
    envelope(status, headers, body)


@pytest.mark.parametrize("size", (5 << 20, 10 << 20))
def test_large_body_is_refused_by_the_api(panel, size):
    answer = panel.post("/tasks", b'{"type":"' + b"x" * size + b'"}')
    assert answer.status == 413
    assert answer.error["code"] and answer.error["request_id"]


def test_absurd_body_is_refused(panel):
    status, headers, body = raw(panel, b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert status in (400, 401, 413)
    envelope(status, headers, body)


def test_both_lengths_do_not_smuggle(panel):
    """A request with both Content-Length and chunked coding must not leave bytes for a second request."""
    data = (b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /nothing.html HTTP/1.1\r\nHost: x\r\n\r\n")
    status, _, body = raw(panel, data, seconds=3)
    assert status in (400, 401)
    assert b"There is nothing at this address" not in body


def test_chunked_body_arrives(panel):
    body = json.dumps({"type": "chunked", "parameters": {"a": 1}}).encode()
    data = (f"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.admin_token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").encode()
    data += b"".join(b"%x\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
    status, _, answer = raw(panel, data)
    assert status == 201, answer


def test_torn_requests_do_no_harm(panel):
    for cut in (b"GET /api", b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Le",
                b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"type\":"):
        for _ in range(20):
            with socket.create_connection((panel.host, panel.port)) as s:
                s.sendall(cut)
    assert panel.get("//live", token=None).status == 200


def test_slow_senders_hold_no_worker(panel):
    """More half-sent bodies than mcp-api has fast threads: everybody else is served at once."""
    head = (f"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {panel.admin_token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{").encode()
    slow = []
    try:
        for _ in range(100):
            s = socket.create_connection((panel.host, panel.port))
            s.sendall(head)
            slow.append(s)
        time.sleep(0.3)
        begin = time.monotonic()
        for _ in range(20):
            panel.get("/tasks?limit=1").expect(200)
        assert time.monotonic() - begin < 5
    finally:
        for s in slow:
            s.close()


def test_waiting_claims_leave_the_fast_pool_alone(panel):
    """More parked claims than fast threads, and plain calls are still quick."""
    agent = panel.register_agent(capabilities=["nobody-submits-this"])
    agent.token
    parked = [threading.Thread(target=lambda: agent.claim(wait=3), daemon=True) for _ in range(60)]
    for t in parked:
        t.start()
    time.sleep(0.5)
    begin = time.monotonic()
    for _ in range(20):
        panel.get("/tasks?limit=1").expect(200)
    took = time.monotonic() - begin
    for t in parked:
        t.join(20)
    assert took < 2


def test_query_strings_are_not_logged(panel):
    panel.get("/tasks?type=marker-that-names-a-person")
    panel.get("//nothing.html?person=marker-that-names-a-person")
    time.sleep(0.2)
    assert "marker-that-names-a-person" not in panel.log("web")


def test_static_answers_carry_security_headers(panel):
    answer = panel.get("//nothing.html", token=None)
    assert answer.headers["X-Content-Type-Options"] == "nosniff" or answer.status == 404


def test_api_gone_is_an_envelope_and_comes_back(new_panel):
    private = new_panel()
    private.kill("api")
    # A worker that has just lost its master may still answer a call, or go in the middle of one (500).
    answer = private.wait_for(
        lambda: next((a for a in [private.get("/tasks", token="x")] if a.status not in (401, 500)), None), 5)
    assert answer.status in (502, 503)
    assert answer.error["code"] in ("service_unavailable", "bad_gateway")
    private.start()
    private.wait_for(lambda: private.get("//ready", token=None).status == 200, 5, "ready again")
