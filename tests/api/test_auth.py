# SPDX-License-Identifier: MIT
"""Log-ins, tokens and their ends, cookies, keys, people, and guessing."""
import base64
import hashlib
import hmac
import json
import time

import pytest

from support import NOWHERE, all_pages, error, fields, is_uuid, unique

PASSWORD = "a long enough word"


@pytest.fixture
def person(panel):
    name = unique("person")
    user = panel.post("/users", {"username": name, "password": PASSWORD, "role": "supervisor"}).expect(201).data
    return name, user["user_id"]


def login(panel, name, password=PASSWORD, **more):
    return panel.post("/auth/login", {"username": name, "password": password}, token=None, **more)


def me(panel, token):
    return panel.get("/auth/me", token=token)


def claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_a_person_logs_in(panel, person):
    name, user_id = person
    got = login(panel, name).expect(200).data
    assert set(got) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert got["token_type"] == "Bearer" and got["expires_in"] == 86400
    c = claims(got["access_token"])
    assert c["sub"] == user_id and c["role"] == "supervisor" and c["type"] == "access" and c["exp"] - c["iat"] == 86400 and c["jti"]
    assert set(c["permissions"]) == {"task:execute", "task:read", "task:manage", "agent:read", "pipeline:read", "system:health"}
    assert claims(got["refresh_token"])["type"] == "refresh"
    seen = me(panel, got["access_token"]).expect(200).data
    assert seen["id"] == user_id and seen["kind"] == "user" and seen["name"] == name and seen["role"] == "supervisor"
    assert panel.post("/auth/token", {"username": name, "password": PASSWORD}, token=None).expect(200).data["access_token"]


def test_an_agent_logs_in(panel):
    agent = panel.register_agent()
    got = panel.post("/auth/token", {"agent_id": agent.id, "auth_token": agent.auth_token}, token=None).expect(200).data
    seen = me(panel, got["access_token"]).expect(200).data
    assert seen["id"] == agent.id and seen["kind"] == "agent" and seen["role"] == "worker"
    panel.get("/auth/me", token=None, headers={"Authorization": "Agent " + got["access_token"]}).expect(200)
    assert panel.get(f"/agents/{agent.id}").data["last_auth_at"]


def test_all_refusals_read_the_same(panel, person):
    name, user_id = person
    agent = panel.register_agent()
    panel.put(f"/users/{user_id}", {"enabled": False}).expect(200)
    answers = [login(panel, name), login(panel, name, "wrong"), login(panel, unique()),
               panel.post("/auth/token", {"agent_id": agent.id, "auth_token": "wrong"}, token=None),
               panel.post("/auth/token", {"agent_id": NOWHERE, "auth_token": agent.auth_token}, token=None)]
    seen = set()
    for answer in answers:
        e = error(answer, 401, "authentication_failed")
        seen.add((e["message"], json.dumps(e["details"])))
    assert len(seen) == 1


@pytest.mark.parametrize("body,paths", (({}, ("$.username", "$.password")), ({"agent_id": NOWHERE}, ("$.auth_token",)), ({"username": "x"}, ("$.password",)),
                                        ({"agent_id": "x", "auth_token": "y"}, ("$.agent_id",)), ({"username": "x", "password": "y", "agent_id": NOWHERE}, ("$",)),
                                        ({"username": "x", "password": "y", "extra": 1}, ("$.extra",))))
def test_bad_token_requests(panel, body, paths):
    assert fields(panel.post("/auth/token", body, token=None), *paths)


def test_refresh_rotates(panel, person):
    first = login(panel, person[0]).expect(200).data
    second = panel.post("/auth/refresh", {"refresh_token": first["refresh_token"]}, token=None).expect(200).data
    assert second["refresh_token"] != first["refresh_token"] and me(panel, second["access_token"]).status == 200
    third = panel.post("/auth/refresh", {"refresh_token": second["refresh_token"]}, token=None).expect(200).data
    # The first one came back after two rotations: stolen. The whole session ends.
    error(panel.post("/auth/refresh", {"refresh_token": first["refresh_token"]}, token=None), 401)
    error(panel.post("/auth/refresh", {"refresh_token": third["refresh_token"]}, token=None), 401)
    error(me(panel, third["access_token"]), 401)


def test_a_second_tab_is_no_thief(panel, person):
    first = login(panel, person[0]).expect(200).data
    tabs = [panel.post("/auth/refresh", {"refresh_token": first["refresh_token"]}, token=None).expect(200).data for _ in range(3)]
    for tab in tabs:
        assert me(panel, tab["access_token"]).status == 200
        panel.post("/auth/refresh", {"refresh_token": tab["refresh_token"]}, token=None).expect(200)


def test_tokens_are_not_mixed_up(panel, person):
    got = login(panel, person[0]).expect(200).data
    error(me(panel, got["refresh_token"]), 401)
    error(panel.post("/auth/refresh", {"refresh_token": got["access_token"]}, token=None), 401)
    error(panel.post("/auth/refresh", {"refresh_token": "x"}, token=None), 401)
    error(panel.post("/auth/refresh", {}, token=None), 401)


def test_logout(panel, person):
    got = login(panel, person[0]).expect(200).data
    panel.post("/auth/logout", {"refresh_token": got["refresh_token"]}, token=got["access_token"]).expect(200)
    error(me(panel, got["access_token"]), 401)
    error(panel.post("/auth/refresh", {"refresh_token": got["refresh_token"]}, token=None), 401)


def test_a_browser_keeps_its_refresh_token_in_a_cookie(panel, person):
    origin = {"Origin": panel.url}
    answer = login(panel, person[0], headers=origin).expect(200)
    assert answer.data["refresh_token"] is None
    cookie = answer.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/api/v1/auth"):
        assert word in cookie
    send = {"Cookie": cookie.split(";")[0]}
    got = panel.post("/auth/refresh", {}, token=None, headers={**send, **origin}).expect(200)
    assert got.data["access_token"] and "Set-Cookie" in got.headers
    for bad in ("https://evil.example", "null", panel.url + ".evil.example", "http"):
        error(panel.post("/auth/refresh", {}, token=None, headers={**send, "Origin": bad}), 403)
    out = panel.post("/auth/logout", {}, token=got.data["access_token"], headers=origin).expect(200)
    assert "Max-Age=0" in out.headers["Set-Cookie"]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(panel, header=None, secret=None, **changes):
    with open(panel.home + "/mcp.conf") as f:
        ours = next(line.split("=", 1)[1].strip() for line in f if line.startswith("JWT_SECRET"))
    body = {**claims(panel.admin_token), **changes}
    head = header or {"alg": "HS256", "typ": "JWT"}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(body).encode())
    sign = b64(hmac.new((secret or ours).encode(), text.encode(), hashlib.sha256).digest())
    return text + "." + ("" if head.get("alg") == "none" else sign)


def test_forged_tokens(panel):
    now = int(time.time())
    assert me(panel, forged(panel)).status == 200       # the forger works
    for token in (forged(panel, exp=now - 10), forged(panel, secret="x" * 48), forged(panel, {"alg": "none", "typ": "JWT"}),
                  forged(panel, {"alg": "HS512"}), forged(panel, {"alg": "RS256"}), forged(panel, type="refresh"), forged(panel, sub=None),
                  forged(panel, role="king"), forged(panel)[:-3], forged(panel) + "x", "a.b.c", "..", ".", "x" * 9000):
        error(me(panel, token), 401, "authentication_failed")
    for scheme in ("Basic dXNlcjpwdw==", "Bearer", "bearer", "Digest x", "Token " + panel.admin_token):
        error(panel.get("/auth/me", token=None, headers={"Authorization": scheme}), 401)


def test_guessing_is_slowed_down(new_panel):
    private = new_panel(RATE_LIMIT_ACCOUNT_FAILURES=3, RATE_LIMIT_AUTH_FAILURES=8)
    private.post("/users", {"username": "victim", "password": PASSWORD, "role": "worker"}).expect(201)
    for _ in range(3):
        error(login(private, "victim", "guess"), 401)
    answer = login(private, "victim")
    assert error(answer, 429, "rate_limited")["type"] == "rate_limit" and int(answer.headers["Retry-After"]) > 0
    for n in range(5):
        error(login(private, f"someone-{n}", "guess"), 401)
    error(login(private, private.admin_user, private.admin_password), 429)


# ---- people -----------------------------------------------------------------------------------------


def test_people(panel):
    name = unique("user")
    got = panel.post("/users", {"username": name, "password": PASSWORD, "role": "worker", "email": "a@example.org"}).expect(201).data
    assert is_uuid(got["user_id"]) and got["email"] == "a@example.org" and got["enabled"] is True and "password" not in got
    path = f"/users/{got['user_id']}"
    assert panel.get(path).expect(200).data == got
    assert got["user_id"] in {u["user_id"] for u in all_pages(panel, "/users?limit=3")}
    error(panel.post("/users", {"username": name, "password": PASSWORD, "role": "worker"}), 409, "already_exists")
    token = panel.login(name, PASSWORD)
    assert panel.put(path, {"role": "supervisor"}).expect(200).data["role"] == "supervisor"
    error(me(panel, token), 401)
    panel.put(path, {"password": "another long word"}).expect(200)
    error(login(panel, name), 401)
    token = panel.login(name, "another long word")
    panel.delete(path).expect(200)
    error(me(panel, token), 401)
    error(panel.get(path), 404)
    error(panel.delete(path), 404)
    panel.post("/users", {"username": name, "password": PASSWORD, "role": "worker"}).expect(201)


@pytest.mark.parametrize("body,field", (({"password": "short"}, "$.password"), ({"role": "king"}, "$.role"), ({"email": "x"}, "$.email"),
                                        ({"username": ""}, "$.username"), ({"permissions": ["fly"]}, "$.permissions[0]"), ({"id": 1}, "$.id")))
def test_bad_people(panel, body, field):
    assert fields(panel.post("/users", {"username": unique(), "password": PASSWORD, "role": "worker", **body}), field)


def test_nobody_deletes_themselves(panel):
    own = panel.get("/auth/me").data["id"]
    error(panel.delete(f"/users/{own}"), 409, "invalid_state")


# ---- keys -------------------------------------------------------------------------------------------


def test_keys(panel):
    got = panel.post("/api-keys", {"name": "ci", "role": "supervisor"}).expect(201).data
    key, path = got["key"], f"/api-keys/{got['key_id']}"
    assert key.startswith("mcp_") and len(key) > 40
    for headers in ({"X-API-Key": key}, {"Authorization": "ApiKey " + key}):
        seen = panel.get("/auth/me", token=None, headers=headers).expect(200).data
        assert seen["kind"] == "api_key" and seen["role"] == "supervisor"
    assert key not in panel.get(path).expect(200).text + panel.get("/api-keys?limit=500").text
    error(panel.get("/auth/me", token=None, headers={"X-API-Key": key[:-1] + ("A" if key[-1] != "A" else "B")}), 401)
    panel.delete(path).expect(200)
    error(panel.get("/auth/me", token=None, headers={"X-API-Key": key}), 401)
    error(panel.get(path), 404)
    error(panel.delete(path), 404)


def test_keys_expire(panel):
    assert fields(panel.post("/api-keys", {"name": "x", "role": "worker", "expires_at": "2020-01-01T00:00:00Z"}), "$.expires_at")
    assert panel.post("/api-keys", {"name": "x", "role": "worker", "expires_at": "2050-01-01T00:00:00Z"}).expect(201).data["expires_at"]
