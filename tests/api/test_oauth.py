# SPDX-License-Identifier: MIT
"""The token endpoint as OAuth 2 clients know it: forms, HTTP Basic, and RFC 6749's answers and errors."""
import base64
import urllib.parse

import pytest

from support import NOWHERE, TIME, error, unique

FORM = "application/x-www-form-urlencoded"


def form(panel, basic=None, type=FORM, **values):
    headers = {"Content-Type": type}
    if basic:
        text = ":".join(urllib.parse.quote(part, safe="") for part in basic)
        headers["Authorization"] = "Basic " + base64.b64encode(text.encode()).decode()
    return panel.post("/auth/token", urllib.parse.urlencode(values).encode(), token=None, headers=headers)


def refused(answer, status, word, code=None):
    """The error of RFC 6749 section 5.2, with our own error object in `details`."""
    assert answer.status == status, answer
    body = answer.json
    assert set(body) == {"success", "error", "error_description", "details"} and body["success"] is False
    assert body["error"] == word and body["error_description"].isascii() and '"' not in body["error_description"]
    assert set(body["details"]) == {"type", "code", "message", "details", "timestamp", "request_id"} and TIME.match(body["details"]["timestamp"])
    assert code is None or body["details"]["code"] == code
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    return body["details"]


def granted(panel, answer, agent_id):
    body = answer.expect(200).json
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
    tokens = {k: body[k] for k in ("access_token", "refresh_token", "token_type", "expires_in")}
    assert body["success"] is True and body["data"] == tokens
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == 86400
    me = panel.get("/auth/me", token=tokens["access_token"]).expect(200).data
    assert me["id"] == agent_id
    return tokens


@pytest.fixture(scope="module")
def agent(panel):
    return panel.register_agent()


@pytest.mark.parametrize("type", (FORM, FORM + "; charset=UTF-8", FORM.title()))
def test_client_credentials_in_the_form(panel, agent, type):
    answer = form(panel, type=type, grant_type="client_credentials", client_id=agent.id, client_secret=agent.auth_token)
    granted(panel, answer, agent.id)


def test_client_credentials_by_basic(panel, agent):
    who = (agent.id, agent.auth_token)
    granted(panel, form(panel, who, grant_type="client_credentials"), agent.id)
    granted(panel, form(panel, who, grant_type="client_credentials", client_id=agent.id, scope="a b"), agent.id)


def test_unknown_and_empty_parameters_are_ignored(panel, agent):
    answer = form(panel, (agent.id, agent.auth_token), grant_type="client_credentials", audience="x", resource="y", client_secret="",
                  client_id="", **{"": "z"})
    granted(panel, answer, agent.id)


def test_wrong_clients(panel, agent):
    for basic, more in (((agent.id, "wrong"), {}), ((NOWHERE, agent.auth_token), {}), (("some one", agent.auth_token), {}), ((agent.id, "ü:x"), {}),
                        (None, {"client_id": agent.id, "client_secret": "wrong"}), (None, {"client_id": "x", "client_secret": "y"})):
        refused(form(panel, basic, grant_type="client_credentials", **more), 401, "invalid_client", "authentication_failed")
    for bad in ("Basic", "Basic ", "Basic ???", "Basic " + base64.b64encode(b"no colon").decode(), "Basic " + base64.b64encode(b"a:\xff%zz").decode(),
                "Basic " + "A" * 5000):
        answer = panel.post("/auth/token", b"grant_type=client_credentials", token=None, headers={"Content-Type": FORM, "Authorization": bad})
        assert answer.status in (400, 401) and answer.json["error"] in ("invalid_client", "invalid_request")


def test_two_ways_at_once_are_refused(panel, agent):
    who = (agent.id, agent.auth_token)
    refused(form(panel, who, grant_type="client_credentials", client_secret=agent.auth_token), 400, "invalid_request")
    refused(form(panel, who, grant_type="client_credentials", client_id=NOWHERE), 400, "invalid_request")


def test_bad_requests(panel, agent):
    found = refused(form(panel, grant_type="client_credentials"), 400, "invalid_request", "validation_failed")["details"]
    assert {d["field"] for d in found} == {"$.client_id", "$.client_secret"}
    refused(form(panel, client_id=agent.id, client_secret=agent.auth_token), 400, "invalid_request")
    refused(form(panel), 400, "invalid_request")
    refused(form(panel, grant_type="password", username="x", password="y"), 400, "unsupported_grant_type")
    refused(form(panel, grant_type="authorization_code"), 400, "unsupported_grant_type")
    body = urllib.parse.urlencode([("grant_type", "client_credentials")] * 2).encode()
    refused(panel.post("/auth/token", body, token=None, headers={"Content-Type": FORM}), 400, "invalid_request")
    for raw in (b"grant_type=%zz", b"grant_type=%ff", b"grant_type=client_credentials\0&x=y"):
        refused(panel.post("/auth/token", raw, token=None, headers={"Content-Type": FORM}), 400, "invalid_request")


def test_json_keeps_the_house_envelope(panel, agent):
    error(panel.post("/auth/token", {"agent_id": agent.id, "auth_token": "wrong"}, token=None), 401, "authentication_failed")
    error(panel.post("/auth/token", b"a=b", token=None, headers={"Content-Type": "text/plain"}), 415)
    body = panel.post("/auth/token", {"agent_id": agent.id, "auth_token": agent.auth_token}, token=None).expect(200).json
    assert "access_token" not in body and body["data"]["access_token"]


def test_basic_is_no_way_into_other_routes(panel, agent):
    basic = "Basic " + base64.b64encode(f"{agent.id}:{agent.auth_token}".encode()).decode()
    answer = panel.get("/auth/me", token=None, headers={"Authorization": basic})
    error(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_refresh(panel, agent):
    who = (agent.id, agent.auth_token)
    first = granted(panel, form(panel, who, grant_type="client_credentials"), agent.id)
    other = panel.register_agent()
    for basic in (None, (other.id, other.auth_token), (agent.id, "wrong")):
        answer = form(panel, basic, grant_type="refresh_token", refresh_token=first["refresh_token"])
        refused(answer, 400 if basic and basic[0] == other.id else 401, "invalid_grant" if basic and basic[0] == other.id else "invalid_client")
    second = granted(panel, form(panel, who, grant_type="refresh_token", refresh_token=first["refresh_token"]), agent.id)
    assert second["refresh_token"] != first["refresh_token"]
    for bad in ("x", second["access_token"]):
        refused(form(panel, who, grant_type="refresh_token", refresh_token=bad), 400, "invalid_grant")
    refused(form(panel, who, grant_type="refresh_token"), 400, "invalid_request")


def test_a_persons_refresh_token_needs_no_client(panel):
    name = unique("person")
    user = panel.post("/users", {"username": name, "password": "a long enough word", "role": "worker"}).expect(201).data
    got = panel.post("/auth/login", {"username": name, "password": "a long enough word"}, token=None).expect(200).data
    granted(panel, form(panel, grant_type="refresh_token", refresh_token=got["refresh_token"]), user["user_id"])


def test_a_disabled_client(panel):
    agent = panel.register_agent()
    panel.put(f"/agents/{agent.id}", {"enabled": False}).expect(200)
    refused(form(panel, (agent.id, agent.auth_token), grant_type="client_credentials"), 401, "invalid_client")


def test_guessing_is_slowed_down_here_too(new_panel):
    private = new_panel(RATE_LIMIT_ACCOUNT_FAILURES=2)
    agent = private.register_agent()
    for _ in range(2):
        refused(form(private, (agent.id, "wrong"), grant_type="client_credentials"), 401, "invalid_client")
    answer = form(private, (agent.id, agent.auth_token), grant_type="client_credentials")
    refused(answer, 429, "temporarily_unavailable", "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_document_describes_it(panel):
    operation = panel.get("//openapi.json").json["paths"]["/api/v1/auth/token"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", FORM}
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert {"access_token", "refresh_token", "token_type", "expires_in", "data"} <= set(answer)
    assert operation["responses"]["401"] == {"$ref": "#/components/responses/OAuthError"}
