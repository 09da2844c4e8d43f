# SPDX-License-Identifier: MIT
"""./mcp itself: what it prints, where it keeps things, and that it ends only what it started."""
import os
import signal
import socket
import stat
import subprocess
import time

import pytest
from panel import TREE, Panel


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


@pytest.fixture
def private(new_panel):
    return new_panel()


def run(panel, *args, **env):
    return subprocess.run([TREE + "/mcp", *args], env={**panel.env, **env}, capture_output=True, text=True, timeout=120)


def test_first_start_shows_the_password_once(new_panel):
    panel = new_panel(start=False)
    first = panel.mcp("up")
    with open(panel.home + "/admin.password") as f:
        password = f.read().strip()
    assert password in first and "http://127.0.0.1:" in first
    assert password not in panel.mcp("up")
    assert mode(panel.home) == 0o700
    for name in ("mcp.conf", "admin.password"):
        assert mode(f"{panel.home}/{name}") == 0o600
    with open(panel.home + "/mcp.conf") as f:
        conf = f.read()
    for key in ("JWT_SECRET", "PASSWORD_PEPPER", "WEBHOOK_SECRET", "ENCRYPTION_KEY"):
        assert f"\n{key} = " in conf


def test_env_is_for_the_shell(private):
    done = subprocess.run(["bash", "-c", 'eval "$(./mcp env)"; echo "$MCP_URL|$MCP_STATE|$MCP_ADMIN_USER|$MCP_ADMIN_PASSWORD_FILE"'],
                          cwd=TREE, env=private.env, capture_output=True, text=True)
    assert done.stdout.strip() == f"{private.url}|{private.home}|admin|{private.home}/admin.password"


def test_status_tells_what_runs(private):
    assert run(private, "status").returncode == 0
    private.kill("scheduler")
    done = run(private, "status")
    assert done.returncode == 3 and "scheduler  DIED" in done.stdout
    private.start()
    assert run(private, "status").returncode == 0


def test_up_mends_what_is_missing(private):
    before = {part: private.pid(part) for part in ("redis", "relay", "api", "scheduler", "web")}
    private.kill("api")
    private.kill("web")
    private.start()
    after = {part: private.pid(part) for part in before}
    assert after["redis"] == before["redis"] and after["scheduler"] == before["scheduler"]
    assert after["api"] != before["api"] and after["web"] != before["web"]
    private.get("/tasks").expect(200)


def test_two_panels_side_by_side(private, new_panel):
    other = new_panel()
    assert other.port != private.port
    agent = private.register_agent()
    assert other.get(f"/agents/{agent.id}").status == 404
    other.stop()
    assert private.get(f"/agents/{agent.id}").status == 200


def test_state_survives_down_and_up(private):
    task = private.submit("kept")
    private.stop()
    assert run(private, "env").returncode == 1
    private.start()
    assert private.task(task["task_id"])["type"] == "kept"


def test_down_ends_everything_and_only_that(private):
    pids = [private.pid(part) for part in ("redis", "relay", "api", "scheduler", "web")] + private.children("api")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        # A pid file that names a process of somebody else: its start time does not fit.
        with open(private.home + "/run/scheduler.pid") as f:
            real = f.read()
        with open(private.home + "/run/scheduler.pid", "w") as f:
            f.write(f"{stranger.pid} 1\n")
        private.stop("scheduler")
        time.sleep(0.2)
        assert stranger.poll() is None
        with open(private.home + "/run/scheduler.pid", "w") as f:
            f.write(real)
        private.stop()
        Panel.wait_for(lambda: all(map(gone, pids)), 2, "every process to be gone")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_workers_of_a_killed_master_are_ended(private):
    workers = private.children("api")
    assert workers
    private.kill("api")
    private.stop()
    Panel.wait_for(lambda: all(map(gone, workers)), 2, "the workers to be gone")


def test_a_fixed_port_that_is_taken_is_an_error(new_panel):
    panel = new_panel(start=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        panel.settings["SERVER_PORT"] = str(taken.getsockname()[1])
        with pytest.raises(RuntimeError, match="(?i)address already in use|did not come up"):
            panel.start()
    panel.start()


def test_a_bad_configuration_is_shown(new_panel):
    panel = new_panel(start=False)
    panel.settings["TASK_LEES"] = "3"
    with pytest.raises(RuntimeError, match="TASK_LEASE"):
        panel.start()


def test_a_long_path_for_the_state(new_panel):
    panel = new_panel(start=False)
    deep = panel.home + "/" + "d" * 120
    done = run(panel, "up", MCP_HOME=deep)
    try:
        assert done.returncode == 0, done.stderr
    finally:
        run(panel, "down", MCP_HOME=deep)


def test_sockets_do_not_hold_up_the_end(private):
    """The relay says goodbye to its sockets before the web server waits for them."""
    with socket.create_connection((private.host, private.port), timeout=10) as link:
        link.sendall((f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                      f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {private.admin_token}\r\n\r\n").encode())
        assert link.recv(1000).startswith(b"HTTP/1.1 101")
        begin = time.monotonic()
        private.stop()
        assert time.monotonic() - begin < 8


def test_unknown_words_are_refused(private):
    for args in (("fly",), ("up", "--store", "oracle"), ("up", "--frobnicate"), ("down", "engine")):
        done = run(private, *args)
        assert done.returncode != 0 and done.stderr


def test_logs_of_a_part(private):
    assert "==>" in private.mcp("logs") or private.mcp("logs")
    private.mcp("logs", "api")


def test_term_drains_and_ends_with_zero(private):
    """The daemons end by themselves on TERM, quickly, when there is nothing in hand."""
    for part in ("scheduler", "api"):
        begin = time.monotonic()
        private.kill(part, signal.SIGTERM)
        assert time.monotonic() - begin < 5
