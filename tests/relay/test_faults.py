# SPDX-License-Identifier: MIT
"""Relays and Redis that are killed, relays side by side, and many clients at once."""
import json
import os
import signal
import subprocess
import time

import pytest

from panel import TREE


@pytest.fixture(scope="module")
def private(panel_options):
    """A panel whose parts these tests may kill."""
    from panel import Panel
    with Panel(**panel_options) as made:
        yield made


def test_a_killed_relay_loses_nothing(private, driver):
    panel = private
    client = driver.ws(panel.ws_url, token=panel.admin_token)
    client.subscribe("tasks")
    panel.submit()
    last = client.event("task.created")["id"]
    panel.kill("relay")
    client.closed(5)
    missed = [panel.submit()["task_id"] for _ in range(20)]
    panel.start("relay")
    again = driver.ws(panel.ws_url, token=panel.admin_token)
    again.send({"type": "subscribe", "id": "s", "channel": "tasks", "filter": {"types": ["task.created"]}, "after": last})
    assert [again.event("task.created")["data"]["task_id"] for _ in missed] == missed
    again.close()


def test_a_relay_that_ends_says_so(private, driver):
    client = driver.ws(private.ws_url, token=private.admin_token)
    private.stop("relay")
    assert client.closed(10) in (1001, 1012)
    private.start("relay")
    driver.ws(private.ws_url, token=private.admin_token).close()


def test_socketio_comes_back_by_itself(private, driver):
    client = driver.io(private.url, auth={"token": private.admin_token}, reconnectionDelay=200, reconnectionDelayMax=500)
    client.connected()
    client.upgraded()
    private.kill("relay")
    client.wait("disconnect")
    private.start("relay")
    client.next(lambda g: g["event"] == "connect", 15, "it to come back")
    client.ask("subscribe", {"channel": "tasks"})
    task = private.submit()["task_id"]
    client.event("task.created", lambda e: e["data"]["task_id"] == task)
    client.close()


def test_server_sent_events_come_back_by_themselves(private, driver):
    stream = driver.sse(private.url + "/api/v1/events/stream", token=private.admin_token)
    stream.wait("open")
    private.submit()
    stream.event("task.created")
    # An EventSource tries again after three seconds, and for ever unless it is answered with an error.
    private.kill("relay")
    private.start("relay")
    missed = private.submit()["task_id"]
    stream.event("task.created", lambda d: d["task_id"] == missed, seconds=20)
    stream.close()


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_redis_restarts(private, driver, sig):
    panel = private
    client = driver.ws(panel.ws_url, token=panel.admin_token)
    client.subscribe("tasks")
    panel.submit()
    client.event("task.created")
    panel.kill("redis", sig)
    assert client.type("redis")["status"] == "down"
    panel.start("redis")
    assert client.type("redis", seconds=15)["status"] == "up"
    panel.wait_for(lambda: panel.get("//health").json["data"]["status"] == "healthy", 15, "the panel to heal")
    task = panel.submit()["task_id"]
    client.event("task.created", task_id=task)
    client.close()


def test_an_api_restart_is_survived(private, driver):
    panel = private
    client = driver.ws(panel.ws_url, token=panel.admin_token)
    client.subscribe("tasks")
    panel.kill("api", signal.SIGTERM)
    panel.start()
    task = panel.submit()["task_id"]
    client.event("task.created", task_id=task)
    client.subscribe("tasks", id="again", filter={"task_id": task})
    client.close()


def test_two_relays_side_by_side(private, driver):
    panel = private
    with open(panel.home + "/run/runtime") as f:
        runtime = f.read().strip()
    port = int(panel.relay_url.rsplit(":", 1)[1]) + 1
    env = {**panel.env, "WS_PORT": str(port), "REDIS_URL": f"unix://{runtime}/redis.sock", "API_SOCKET": runtime + "/api.sock",
           "API_SLOW_SOCKET": runtime + "/slow.sock", "STORE_URI": f"sqlite://{panel.home}/mcp.db"}
    with open(panel.home + "/log/relay2.log", "w") as log:
        second = subprocess.Popen([panel.build + "/mcp-relay", "--config", panel.home + "/mcp.conf"], env=env, stderr=log, stdin=subprocess.DEVNULL)
    try:
        panel.wait_for(lambda: ": listening" in panel.log("relay2") or "listen" in panel.log("relay2"), 10, "the second relay")
        time.sleep(0.5)
        one = driver.ws(panel.ws_url, token=panel.admin_token)
        two = driver.ws(f"ws://127.0.0.1:{port}/ws", token=panel.admin_token)
        for client in (one, two):
            client.subscribe("tasks")
        tasks = [panel.submit()["task_id"] for _ in range(20)]
        for task in tasks:
            assert one.event("task.created")["data"]["task_id"] == two.event("task.created")["data"]["task_id"] == task
        last = one.event("task.created", task_id=panel.submit()["task_id"])["id"]
        two.type("task.created", id=last)
        # What one told, the other goes on from.
        missed = panel.submit()["task_id"]
        three = driver.ws(f"ws://127.0.0.1:{port}/ws", token=panel.admin_token)
        three.send({"type": "subscribe", "id": "s", "channel": "tasks", "filter": {"types": ["task.created"]}, "after": last})
        assert three.event("task.created")["data"]["task_id"] == missed
        for client in (one, two, three):
            client.close()
    finally:
        second.terminate()
        assert second.wait(15) == 0


def test_health_of_the_relay(private):
    panel = private

    def relay():
        return (panel.get("//health").json["data"]["checks"]["relay"]["status"],
                {s["name"]: s["state"] for s in panel.get("/discovery/services").data}["relay"])

    panel.wait_for(lambda: relay() == ("healthy", "healthy"), 5, "a healthy relay")
    panel.kill("relay")
    panel.wait_for(lambda: relay() == ("unhealthy", "unhealthy"), 5, "it to be missed")
    assert panel.get("//ready", token=None).status == 200
    panel.start("relay")
    panel.wait_for(lambda: relay() == ("healthy", "healthy"), 5, "a healthy relay")


LOAD_SECONDS = 5


@pytest.mark.parametrize("way", ["relay", "web"])
def test_a_thousand_clients_lose_nothing(private, way):
    panel = private
    load = os.path.join(panel.build, "tests", "ws_load")
    if not os.path.exists(load):
        pytest.skip("ws_load is not built (make tests)")
    with open(panel.home + "/run/runtime") as f:
        redis = f.read().strip() + "/redis.sock"
    url = panel.ws_url if way == "web" else panel.relay_url.replace("http", "ws") + "/ws"
    slow = "san" in os.path.basename(panel.build)
    clients = 200 if slow else 1000
    done = subprocess.run([load, "--url", url, "--header", "Authorization: Bearer " + panel.admin_token, "--hello",
                           '{"type":"subscribe","id":"s1","channel":"all"}', "--ready", '"subscribed"', "--clients", str(clients), "--rate", "50",
                           "--seconds", str(LOAD_SECONDS), "--redis", redis, "--pid", str(panel.pid("relay"))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    print(f"\n{clients} clients x 50/s, {way}: p50 {got['p50_ms']} ms, p99 {got['p99_ms']} ms, max {got['max_ms']} ms, lost {got['lost']}, "
          f"relay CPU {got['cpu_s']:.2f} s")
    assert got["ready"] == clients and got["lost"] == 0 and got["twice"] == 0 and not got["closed"], got
    assert TREE
