# SPDX-License-Identifier: MIT
"""What a browser and a socket need of the API: one-time tickets, the session cookie, and the headers of our own pages."""
import hashlib
import json
import time

import pytest

from support import error, unique

PASSWORD = "a long enough word"


def key_of(ticket):
    return "{mcp}:ticket:" + hashlib.sha256(ticket.encode()).hexdigest()


def ticket_of(panel, **more):
    got = panel.post("/auth/ws-ticket", **more).expect(201).data
    assert set(got) == {"ticket", "expires_in"} and got["expires_in"] == 30 and len(got["ticket"]) >= 43
    return got["ticket"]


def test_a_ticket_is_for_those_who_are_known(panel):
    error(panel.post("/auth/ws-ticket", token=None), 401)
    error(panel.post("/auth/ws-ticket", token="nonsense"), 401)


def test_a_ticket_stands_once_for_its_callers_own_credential(panel):
    agent = panel.register_agent()
    ticket = ticket_of(panel, token=agent.token)
    assert 0 < int(panel.redis("TTL", key_of(ticket))) <= 30
    held = json.loads(panel.redis("GETDEL", key_of(ticket)))
    assert held == {"authorization": "Bearer " + agent.token, "subject": agent.id}
    seen = panel.get("/auth/me", token=None, headers={"Authorization": held["authorization"]}).expect(200).data
    assert seen["id"] == agent.id and seen["clearance_level"] == "internal"
    assert panel.redis("GETDEL", key_of(ticket)) is None
    assert len({ticket_of(panel) for _ in range(20)}) == 20


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_ticket_of_an_api_key(panel, header):
    made = panel.post("/api-keys", {"name": unique(), "role": "worker"}).expect(201).data
    value = made["key"] if header == "X-API-Key" else "ApiKey " + made["key"]
    held = json.loads(panel.redis("GETDEL", key_of(ticket_of(panel, token=None, headers={header: value}))))
    assert held["subject"] == made["key_id"]
    seen = panel.get("/auth/me", token=None, headers={"Authorization": held["authorization"]}).expect(200).data
    assert seen["id"] == made["key_id"] and seen["kind"] == "api_key" and seen["expires_at"] is None


def test_a_bad_key_beside_a_good_token_is_not_what_the_ticket_stands_for(panel):
    ticket = ticket_of(panel, headers={"X-API-Key": "not a key"})
    assert json.loads(panel.redis("GETDEL", key_of(ticket)))["authorization"].startswith("Bearer ")


@pytest.mark.extended
def test_a_ticket_dies_after_thirty_seconds(panel):
    ticket = ticket_of(panel)
    panel.wait_for(lambda: panel.redis("EXISTS", key_of(ticket)) == "0", 31.5, "the ticket to die", every=0.5)


@pytest.mark.extended
def test_without_redis_there_are_no_tickets(new_panel):
    panel = new_panel()
    token = panel.admin_token
    panel.kill("redis")
    error(panel.post("/auth/ws-ticket", token=token), 503, "redis_unavailable")
    panel.start("redis")
    panel.wait_for(lambda: panel.post("/auth/ws-ticket", token=token).status == 201, 10, "tickets again")


# --- the cookie ------------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(panel):
    """A person's browser: its Origin, its cookie jar of one, and requests that send both."""
    name = unique("person")
    panel.post("/users", {"username": name, "password": PASSWORD, "role": "supervisor"}).expect(201)
    return Browser(panel, name)


class Browser:
    def __init__(self, panel, name):
        self.panel, self.name, self.cookie, self.token = panel, name, None, None

    def post(self, path, body=None, token=None, cookie=..., **headers):
        cookie = self.cookie if cookie is ... else cookie
        got = self.panel.post(path, body or {}, token=token, headers={"Origin": self.panel.url, "Cookie": cookie, **headers})
        self.take(got)
        return got

    def take(self, answer):
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]

    def login(self, **headers):
        got = self.post("/auth/login", {"username": self.name, "password": PASSWORD}, **headers)
        if got.status == 200:
            self.token = got.data["access_token"]
        return got


def test_reload_and_rotation(browser):
    browser.login().expect(200)
    seen = {browser.cookie}
    for _ in range(3):
        got = browser.post("/auth/refresh").expect(200)
        assert got.data["refresh_token"] is None and browser.cookie not in seen
        seen.add(browser.cookie)
        assert browser.panel.get("/auth/me", token=got.data["access_token"]).expect(200).data["name"] == browser.name


def test_two_tabs_wake_up_at_once(browser):
    browser.login().expect(200)
    old = browser.cookie
    tabs = [browser.post("/auth/refresh", cookie=old).expect(200).data["access_token"] for _ in range(3)]
    for tab in tabs:
        browser.panel.get("/auth/me", token=tab).expect(200)
    browser.post("/auth/refresh").expect(200)


def test_the_cookie_is_worth_nothing_to_another_origin(browser, panel):
    browser.login().expect(200)
    for origin in ("https://evil.example", "null", "http://" + panel.host, panel.url + ".evil.example"):
        error(browser.post("/auth/refresh", Origin=origin), 403)
        error(browser.login(Origin=origin), 403)
        error(panel.post("/auth/token", {"username": browser.name, "password": PASSWORD}, token=None, headers={"Origin": origin}), 403)
    browser.post("/auth/refresh").expect(200)


def test_logout_ends_the_cookies_session(browser):
    browser.login().expect(200)
    old = browser.cookie
    browser.post("/auth/logout", token=browser.token).expect(200)
    assert browser.cookie == "mcp_refresh="
    error(browser.post("/auth/refresh", cookie=old), 401)
    error(browser.post("/auth/refresh", cookie=None), 401)
    error(browser.panel.get("/auth/me", token=browser.token), 401)


def test_a_listed_origin_may(new_panel):
    panel = new_panel(CORS_ORIGINS="https://panel.example https://other.example")
    answer = panel.post("/auth/login", {"username": panel.admin_user, "password": panel.admin_password}, token=None,
                        headers={"Origin": "https://panel.example"}).expect(200)
    assert "; Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Access-Control-Allow-Origin"] == "https://panel.example"


# --- our own pages -----------------------------------------------------------------------------------------------------


def policy(answer):
    words = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert answer.headers.get_all("Content-Security-Policy") == [answer.headers["Content-Security-Policy"]]
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"
    return words


def test_the_panels_own_files_may_do_little(panel):
    for path in ("//", "//no-such-file.html", "//lib/chart.js/none.js"):
        words = policy(panel.get(path, token=None))
        assert words["default-src"] == "'self'" and words["frame-ancestors"] == "'none'" and words["base-uri"] == "'none'"
        assert words["object-src"] == "'none'" and words["form-action"] == "'self'"
        assert f"ws://{panel.host}:{panel.port}" in words["connect-src"].split() and "'self'" in words["connect-src"].split()
        assert "unsafe" not in str(words)


def test_the_documents_page_may_do_nothing_but_look_well(panel):
    words = policy(panel.get("//docs", token=None).expect(200))
    assert words["default-src"] == "'none'" and words["frame-ancestors"] == "'none'" and words["style-src"].startswith("'sha256-")


def test_the_chart_library_is_served_and_nothing_else_of_its_folder(panel):
    got = panel.get("//lib/chart.js/chart.min.js", token=None)
    if got.status == 404:
        pytest.skip("libjs-chart.js is not installed")
    assert got.status == 200 and got.headers["Content-Type"].startswith("text/javascript")
    for path in ("//lib/", "//lib/jquery/jquery.js", "//lib/chart.js/../../doc/libc6/copyright", "//lib/chart.js/%2e%2e/%2e%2e/doc/libc6/copyright"):
        assert panel.get(path, token=None).status in (400, 403, 404)
