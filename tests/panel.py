# SPDX-License-Identifier: MIT
"""A whole control panel for a test: Redis, store, mcp-api, scheduler and web server, all real.

It is started by ./mcp, the same way a user starts one, under a state folder of its own on a free port,
and every part can be killed and started again. Standard library only, so that the API tests, the fault
tests, the fuzzer and the benchmark all use it.

    with Panel(store="sqlite", server="lighttpd") as panel:
        task = panel.post("/tasks", {"type": "echo", "parameters": {}}).data
        agent = panel.register_agent(capabilities=["echo"])
        claimed = agent.claim()
"""
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.parse

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What a test panel has different from a user's: quick passwords, and limits that a test does not hit by
# accident (tests of the limits set their own).
SETTINGS = {
    "ENVIRONMENT": "test",
    "BCRYPT_COST": "4",
    "RATE_LIMIT_API": "100000000",
    "RATE_LIMIT_SUBMIT": "100000000",
    "RATE_LIMIT_HEARTBEAT": "1000000",
    "RATE_LIMIT_AUTH_FAILURES": "100000",
    "RATE_LIMIT_ACCOUNT_FAILURES": "100000",
    "WEBHOOK_ALLOW": "public loopback",
}

# What a sanitizer prints when it finds something.
SANITIZER = re.compile(r"(ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|AddressSanitizer:DEADLYSIGNAL)")


class Answer:
    """One HTTP answer. `json` is the parsed body or None, `data` its `data`, `error` its `error`."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    @property
    def data(self):
        return self.json["data"]

    @property
    def error(self):
        return self.json["error"]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def expect(self, *statuses):
        """This answer, if its status is one of those; otherwise the test fails and shows it."""
        assert self.status in statuses, f"got {self.status}, wanted {statuses}: {self.text[:2000]}"
        return self

    def __repr__(self):
        return f"<Answer {self.status} {self.text[:300]}>"


class Agent:
    """A registered agent with its token."""

    def __init__(self, panel, answer):
        self.panel, self.record = panel, answer.data
        self.id = self.record["agent_id"]
        self.auth_token = self.record["auth_token"]
        self._token = None

    @property
    def token(self):
        if self._token is None:
            got = self.panel.request("POST", "/auth/token", {"agent_id": self.id, "auth_token": self.auth_token},
                                     token=None).expect(200)
            self._token = got.data["access_token"]
        return self._token

    def request(self, method, path, body=None, **more):
        return self.panel.request(method, path, body, token=self.token, **more)

    def heartbeat(self, **body):
        return self.request("POST", f"/agents/{self.id}/heartbeat", {"status": "active", **body})

    def claim(self, max=1, wait=None, **body):
        """The tasks claimed, perhaps none."""
        path = f"/agents/{self.id}/claim" + (f"?wait={wait}" if wait is not None else "")
        return self.request("POST", path, {"max": max, **body}).expect(200).data["tasks"]

    def progress(self, task, progress, message=None):
        body = {"fence": task["fence"], "progress": progress}
        if message is not None:
            body["message"] = message
        return self.request("POST", f"/tasks/{task['task_id']}/progress", body)

    def complete(self, task, result=None, **more):
        return self.request("POST", f"/tasks/{task['task_id']}/complete",
                            {"fence": task["fence"], "result": {} if result is None else result, **more})

    def fail(self, task, error=None, **more):
        error = error or {"type": "system", "code": "test_failure", "message": "failed by the test"}
        return self.request("POST", f"/tasks/{task['task_id']}/fail",
                            {"fence": task["fence"], "error": error, **more})


class Panel:
    """A panel of its own. Give it MongoDB's URI as `mongodb_uri` to share a server (a database of its own
    in it); without one a mongod of its own is started."""

    PARTS = ("redis", "mongo", "relay", "api", "scheduler", "web")

    def __init__(self, store="sqlite", server="lighttpd", settings=None, mongodb_uri=None, build=None):
        self.store, self.server = store, server
        self.home = tempfile.mkdtemp(prefix="mcp-t.", dir="/tmp")
        self.build = build or os.environ.get("B") or os.path.join(TREE, "build")
        self.settings = {**SETTINGS, **(settings or {})}
        self.env = self._environment(mongodb_uri)
        self.prefix = "/api/v1"
        self.url = self.host = self.port = None
        self.ws_url = self.relay_url = None     # ws://…/ws through the web server; http://… of the relay itself
        self.admin_user = self.admin_password = None
        self._admin_token = None
        self._lock = threading.Lock()

    def _environment(self, mongodb_uri):
        """Our own environment less every name that is a configuration key, so that the caller's shell
        does not leak into the panel."""
        with open(os.path.join(TREE, "lib/base/config_keys.def")) as f:
            table = f.read()
        names = set(re.findall(r"^X\((\w+)", table, re.M)) | set(re.findall(r"\b[A-Z][A-Z0-9_]{4,}\b", table))
        env = {k: v for k, v in os.environ.items() if k not in names}
        env.update(MCP_HOME=self.home, MCP_NO_BUILD="1", B=self.build)
        if self.store == "mongo" and mongodb_uri:
            name = "mcp_" + os.path.basename(self.home).replace(".", "_").replace("-", "_")
            parts = urllib.parse.urlsplit(mongodb_uri)
            env["STORE_URI"] = urllib.parse.urlunsplit(parts._replace(path="/" + name))
        return env

    # ---- its processes --------------------------------------------------------------------------

    def mcp(self, *args, check=True):
        """Run ./mcp for this panel; its standard output."""
        done = subprocess.run([os.path.join(TREE, "mcp"), *args], env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=180)
        if check and done.returncode != 0:
            raise RuntimeError(f"mcp {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *parts):
        """Start what does not run yet (or only these parts) and wait until the panel is ready."""
        sets = [f"--set={k}={v}" for k, v in self.settings.items()]
        self.mcp("up", *parts, "--store", self.store, "--server", self.server, *sets)
        with open(self.home + "/run/env") as f:
            lines = dict(shlex.split(line)[0].split("=", 1) for line in f)
        self.url, self.ws_url, self.relay_url = lines["MCP_URL"], lines["MCP_WS_URL"], lines["MCP_RELAY_URL"]
        split = urllib.parse.urlsplit(self.url)
        self.host, self.port = split.hostname, split.port
        self.admin_user = lines["MCP_ADMIN_USER"]
        with open(lines["MCP_ADMIN_PASSWORD_FILE"]) as f:
            self.admin_password = f.read().strip()
        return self

    def stop(self, *parts):
        """Stop politely: everything, or only these parts."""
        self.mcp("down", *parts)

    def set(self, **settings):
        """Change keys of mcp.conf; in force after reload() or a restart of the part."""
        self.settings.update({k: str(v) for k, v in settings.items()})
        path = self.home + "/mcp.conf"
        with open(path) as f:
            lines = [l for l in f if l.split("=")[0].strip() not in settings]
        with open(path, "w") as f:
            f.writelines(lines + [f"{k} = {v}\n" for k, v in settings.items()])

    def reload(self, *parts):
        for part in parts or ("api", "scheduler", "relay"):
            os.kill(self.pid(part), signal.SIGHUP)

    def pid(self, part):
        with open(f"{self.home}/run/{part}.pid") as f:
            return int(f.read().split()[0])

    def children(self, part):
        """Pids of the processes whose parent is that part (mcp-api's workers, for one)."""
        parent, found = self.pid(part), []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as f:
                        fields = f.read().rpartition(") ")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == parent and fields[0] != "Z":
                    found.append(int(entry))
        return sorted(found)

    def running(self, part):
        try:
            pid = self.pid(part)
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rpartition(") ")[2][0] != "Z"
        except OSError:
            return False

    def kill(self, part, sig=signal.SIGKILL):
        """Send a signal to the main process of a part and, when it is deadly, wait until it is gone."""
        os.kill(self.pid(part), sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            self.wait_for(lambda: not self.running(part), 20, f"{part} to end")

    def log(self, part):
        try:
            with open(f"{self.home}/log/{part}.log", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def sanitizer_findings(self):
        """Lines in the logs by which a sanitizer reports something."""
        return [f"{part}: {line}" for part in ("api", "scheduler", "relay") for line in self.log(part).splitlines()
                if SANITIZER.search(line)]

    def store_faults(self):
        """What SQLite finds wrong with its own file, once nobody writes to it any more."""
        path = self.home + "/mcp.db"
        if not os.path.exists(path):
            return []
        db = sqlite3.connect(path, timeout=10)
        try:
            return [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        except sqlite3.DatabaseError as e:
            return [str(e)]
        finally:
            db.close()

    def close(self):
        """Stop everything and remove the state. Raises when a sanitizer or the store's own check finds something."""
        try:
            self.mcp("down", check=False)
            found = self.sanitizer_findings()
            if found:
                raise AssertionError("sanitizer: " + "\n".join(found[:20]) + f"\n(full log kept: {self.keep_logs()})")
            found = self.store_faults()
            if found:
                raise AssertionError("the store: " + "\n".join(found[:20]) + f"\n(full log kept: {self.keep_logs()})")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def keep_logs(self):
        kept = tempfile.mkdtemp(prefix="mcp-logs.", dir="/tmp")
        shutil.copytree(self.home + "/log", kept, dirs_exist_ok=True)
        return kept

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    # ---- talking to it --------------------------------------------------------------------------

    def connection(self, timeout=60):
        """A kept-alive connection, for tests that need one."""
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method, path, body=None, token=..., headers=None, timeout=60, connection=None):
        """One request. A path not beginning /api/ gets the prefix, `//x` means /x at the root. `body` is sent
        as JSON, or as it is when it is bytes. `token` is the administrator's unless given; None sends none."""
        if path.startswith("//"):
            path = path[1:]
        elif not path.startswith("/api/"):
            path = self.prefix + path
        send = {}
        if body is not None:
            send["Content-Type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        if token is ...:
            token = self.admin_token
        if token is not None:
            send["Authorization"] = "Bearer " + token
        send.update(headers or {})
        send = {k: v for k, v in send.items() if v is not None}
        link = connection or self.connection(timeout)
        try:
            link.request(method, path, body, send)
            got = link.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            if connection is None:
                link.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, {} if body is None else body, **more)

    def put(self, path, body, **more):
        return self.request("PUT", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def login(self, username, password):
        """Access token of a person."""
        body = {"username": username, "password": password}
        return self.request("POST", "/auth/login", body, token=None).expect(200).data["access_token"]

    @property
    def admin_token(self):
        with self._lock:
            if self._admin_token is None:
                self._admin_token = self.login(self.admin_user, self.admin_password)
            return self._admin_token

    def register_agent(self, name=None, type="worker", capabilities=("echo",), **more):
        body = {"name": name or f"agent-{os.urandom(4).hex()}", "type": type,
                "capabilities": list(capabilities), **more}
        agent = Agent(self, self.post("/agents/register", body).expect(201))
        agent.capabilities = list(capabilities)
        return agent

    def submit(self, type="echo", **more):
        """A new task's record."""
        return self.post("/tasks", {"type": type, "parameters": {}, **more}).expect(201).data

    def task(self, task_id):
        return self.get(f"/tasks/{task_id}").expect(200).data

    def redis(self, *words):
        """One command on the panel's own Redis, spoken by hand: the answer as text, or None."""
        with open(self.home + "/run/runtime") as f:
            path = f.read().strip() + "/redis.sock"
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(path)
            link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words))
            answer = link.makefile("rb")
            line = answer.readline().strip()
            assert line[:1] != b"-", line
            if line[:1] == b"$":
                return None if line == b"$-1" else answer.read(int(line[1:])).decode()
            return line[1:].decode()

    @staticmethod
    def wait_for(test, seconds=10, what="the condition", every=0.02):
        """The first true value of test(); fails after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            value = test()
            if value:
                return value
            assert time.monotonic() < end, f"waited {seconds} s for {what}"
            time.sleep(every)
