# SPDX-License-Identifier: MIT
"""Who may open a socket, and for how long."""
import base64
import hashlib
import hmac
import json
import time

import pytest


def forged(panel, token, **changes):
    """A token with other claims, signed with the panel's own secret."""
    with open(panel.home + "/mcp.conf") as f:
        secret = next(l.split("=", 1)[1].strip() for l in f if l.startswith("JWT_SECRET "))
    head, body, _ = token.split(".")
    claims = {**json.loads(base64.urlsafe_b64decode(body + "==")), **changes}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    mac = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def ticket(panel, **more):
    return panel.post("/auth/ws-ticket", **more).expect(201).data["ticket"]


def turned_away(client, code=4401):
    """Refused at the handshake (401/403) or closed with the code; nothing was told before."""
    got = client.next(lambda g: g["event"] in ("refused", "close"), 8, "a refusal")
    if got["event"] == "refused":
        assert got["status"] in ({4401: (401,), 4403: (403,)}[code])
    else:
        assert got["code"] == code, got
    for seen in client.seen:
        assert seen["event"] != "message" or json.loads(seen["text"])["type"] == "error", seen


def test_nobody_waits_longer_than_five_seconds(driver, panel):
    began = time.monotonic()
    client = driver.ws(panel.ws_url)
    client.wait("open")
    turned_away(client)
    assert 4 < time.monotonic() - began < 7


def test_nothing_is_told_before(driver, panel):
    client = driver.ws(panel.ws_url + "/tasks/progress")
    client.wait("open")
    for _ in range(5):
        panel.submit()
    client.none(lambda g: g["event"] == "message", 1)
    client.send({"type": "auth", "token": panel.admin_token})
    assert client.authed()["data"]["role"] == "admin"


def test_speaking_before_is_no_way_in(driver, panel):
    client = driver.ws(panel.ws_url)
    client.wait("open")
    client.send({"type": "subscribe", "id": "x", "channel": "all"})
    panel.submit()
    client.none(lambda g: g["event"] == "message" and json.loads(g["text"])["type"] not in ("error",), 1)


@pytest.mark.parametrize("message", [{"token": "nonsense"}, {"ticket": "nonsense"}, {"token": ""}, {}, {"token": 7}])
def test_bad_messages_of_authentication(driver, panel, message):
    client = driver.ws(panel.ws_url)
    client.wait("open")
    client.send({"type": "auth", **message})
    turned_away(client)


@pytest.mark.parametrize("value", ["Bearer nonsense", "Bearer ", "Basic eDp5", "ApiKey nonsense"])
def test_a_bad_header(driver, panel, value):
    turned_away(driver.ws(panel.ws_url, headers={"Authorization": value}))


def test_a_refresh_token_is_no_credential(driver, panel):
    pair = panel.post("/auth/login", {"username": panel.admin_user, "password": panel.admin_password}, token=None).expect(200).data
    turned_away(driver.ws(panel.ws_url, headers={"Authorization": "Bearer " + pair["refresh_token"]}))


def test_by_message_and_by_header(driver, panel, people):
    for token in (panel.admin_token, people["supervisor"], people["agent"].token):
        by_message = driver.ws(panel.ws_url)
        by_message.wait("open")
        by_message.send({"type": "auth", "token": token})
        one = by_message.authed()["data"]
        by_header = driver.ws(panel.ws_url, headers={"Authorization": "Bearer " + token})
        other = by_header.authed()["data"]
        me = panel.get("/auth/me", token=token).data
        for got in (one, other):
            assert got["subject"] == me["id"] and got["role"] == me["role"] and set(got["permissions"]) == set(me["permissions"])
            assert got["expires_at"] and got["session"]
        assert one["session"] != other["session"]
        by_message.close()
        by_header.close()


def test_by_api_key(driver, panel):
    made = panel.post("/api-keys", {"name": "k" + str(time.time_ns()), "role": "supervisor"}).expect(201).data
    client = driver.ws(panel.ws_url, headers={"Authorization": "ApiKey " + made["key"]})
    assert client.authed()["data"]["subject"] == made["key_id"]
    client.close()


def test_a_ticket_opens_one_socket(driver, panel, people):
    for token in (panel.admin_token, people["agent"].token):
        one = ticket(panel, token=token)
        client = driver.ws(panel.ws_url + "?ticket=" + one)
        assert client.authed()["data"]["subject"] == panel.get("/auth/me", token=token).data["id"]
        turned_away(driver.ws(panel.ws_url + "?ticket=" + one))
        two = ticket(panel, token=token)
        by_message = driver.ws(panel.ws_url)
        by_message.wait("open")
        by_message.send({"type": "auth", "ticket": two})
        by_message.authed()
        again = driver.ws(panel.ws_url)
        again.wait("open")
        again.send({"type": "auth", "ticket": two})
        turned_away(again)
        client.close()
        by_message.close()


def test_the_end_of_the_token_ends_the_socket(driver, panel):
    token = forged(panel, panel.admin_token, exp=int(time.time()) + 3)
    client = driver.ws(panel.ws_url, token=token)
    client.subscribe("tasks")
    assert client.closed(8) == 4408
    turned_away(driver.ws(panel.ws_url, headers={"Authorization": "Bearer " + token}))


def test_a_log_out_ends_the_socket(driver, panel):
    pair = panel.post("/auth/login", {"username": panel.admin_user, "password": panel.admin_password}, token=None).expect(200).data
    client = driver.ws(panel.ws_url, token=pair["access_token"])
    panel.post("/auth/logout", {"refresh_token": pair["refresh_token"]}, token=pair["access_token"]).expect(200)
    assert client.closed(40) == 4401


def test_another_origin_is_refused(driver, panel):
    for origin in ("https://evil.example", "null", panel.url + ".evil.example"):
        turned_away(driver.ws(panel.ws_url, headers={"Authorization": "Bearer " + panel.admin_token}, origin=origin), 4403)
    own = driver.ws(panel.ws_url, token=panel.admin_token, origin=panel.url)
    own.close()


def test_a_worker_sees_its_own_tasks_only(driver, panel):
    mine, other = panel.register_agent(capabilities=["mine-" + str(time.time_ns())]), panel.register_agent(capabilities=["other-" + str(time.time_ns())])
    caps = [a.capabilities for a in (mine, other)]
    client = driver.ws(panel.ws_url, token=other.token)
    client.subscribe("tasks", id="t")
    task = panel.submit("mine", requirements={"capabilities": caps[0]})
    held = mine.claim()[0]
    assert held["task_id"] == task["task_id"]
    mine.progress(held, 0.5).expect(200)
    mine.complete(held, {"secret": 1}).expect(200)
    client.none(lambda g: g["event"] == "message" and task["task_id"] in g.get("text", ""), 1)
    # What is its own it does see.
    task = panel.submit("other", requirements={"capabilities": caps[1]})
    held = other.claim()[0]
    other.progress(held, 0.5).expect(200)
    client.next(lambda g: g["event"] == "message" and task["task_id"] in g.get("text", ""), 10, "its own task")
    client.close()


def test_channels_a_role_may_not_read(driver, panel, people):
    client = driver.ws(panel.ws_url, token=people["agent"].token)
    client.send({"type": "subscribe", "id": "p", "channel": "pipelines"})
    assert client.type("error")["code"] == "permission_denied"
    client.send({"type": "ping"})
    client.type("pong")
    client.close()
