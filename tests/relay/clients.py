# SPDX-License-Identifier: MIT
"""The clients of others (driver.js), as the tests see them.

    driver = Driver()
    ws = driver.ws(panel.ws_url, token=panel.admin_token)
    ws.subscribe("tasks")
    event = ws.event("task.created")
"""
import base64
import collections
import json
import os
import subprocess
import threading
import time

# A stream names its events, and EventSource wants the names beforehand.
EVENTS = ("agent.registered", "agent.status_updated", "agent.removed", "task.created", "task.assigned", "task.progress", "task.completed",
          "task.failed", "task.retrying", "task.cancelled", "stage.started", "stage.completed", "pipeline.started", "pipeline.progress",
          "pipeline.completed", "pipeline.failed", "error.occurred", "system.health", "system.alert", "system.config_updated", "resync", "redis")

HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    """One client: what it experienced so far, in order, and ways to wait for the next."""

    def __init__(self, driver, number):
        self.driver, self.number = driver, number
        self.log = collections.deque()
        self.seen = []

    def do(self, op, **more):
        self.driver.write({"op": op, "id": self.number, **more})

    def next(self, test, seconds=10, what="something"):
        """Takes the first thing not yet taken for which test is true; what came before it is passed over."""
        end = time.monotonic() + seconds
        passed = []
        with self.driver.news:
            while True:
                while self.log:
                    got = self.log.popleft()
                    self.seen.append(got)
                    if test(got):
                        return got
                    passed.append(got)
                left = end - time.monotonic()
                if left <= 0 or not self.driver.news.wait(left):
                    if time.monotonic() >= end:
                        raise AssertionError(f"waited {seconds} s for {what}; came: {json.dumps(passed)[-3000:]}")

    def none(self, test, seconds=0.5):
        """Within that time nothing like it comes. Takes what comes."""
        time.sleep(seconds)
        with self.driver.news:
            got = list(self.log)
            self.log.clear()
            self.seen += got
        wrong = [g for g in got if test(g)]
        assert not wrong, wrong

    def wait(self, event, seconds=10):
        return self.next(lambda g: g["event"] == event, seconds, event)


class Socket(Client):
    """A WebSocket of npm's ws that speaks the plain dialect."""

    def send(self, message):
        self.do("ws.send", text=message if isinstance(message, str) else json.dumps(message))

    def send_bytes(self, data):
        self.do("ws.send", bytes=base64.b64encode(data).decode())

    def message(self, test=lambda m: True, seconds=10, what="a message"):
        """The next JSON message for which test is true."""
        return json.loads(self.next(lambda g: g["event"] == "message" and "text" in g and test(json.loads(g["text"])), seconds, what)["text"])

    def type(self, *types, seconds=10, **members):
        """The next message of one of these types; members must be equal."""
        return self.message(lambda m: m.get("type") in types and all(m.get(k) == v for k, v in members.items()), seconds,
                            f"{'/'.join(types)} {members or ''}")

    def event(self, *types, seconds=10, **data):
        """The next event envelope of one of these types whose data has these values."""
        return self.message(lambda m: m.get("type") in types and "data" in m and "id" in m and
                            all(m["data"].get(k) == v for k, v in data.items()), seconds, f"{'/'.join(types)} {data or ''}")

    def no_event(self, *types, seconds=0.5, **data):
        def match(g):
            if g["event"] != "message" or "text" not in g:
                return False
            m = json.loads(g["text"])
            return ((m.get("type") in types if types else "timestamp" in m and "id" in m) and
                    all((m.get("data") or {}).get(k) == v for k, v in data.items()))
        self.none(match, seconds)

    def subscribe(self, channel, id="s1", seconds=10, **more):
        """Subscribe and wait for the answer."""
        self.send({"type": "subscribe", "id": id, "channel": channel, **more})
        got = self.type("subscribed", "error", seconds=seconds)
        assert got["type"] == "subscribed" and got.get("id") == id, got
        return got

    def authed(self):
        return self.type("auth.ok")

    def closed(self, seconds=10):
        """Its close code."""
        return self.wait("close", seconds)["code"]

    def close(self):
        self.do("ws.close")


class Io(Client):
    """npm's socket.io-client."""
    acks = 0

    def connected(self, seconds=10):
        got = self.next(lambda g: g["event"] in ("connect", "connect_error"), seconds, "connect")
        assert got["event"] == "connect", got
        return got

    def upgraded(self, seconds=10):
        """It has gone from polling to WebSocket; a server that dies in the middle is noticed only by missing pings."""
        def there(got):
            return got["event"] == "upgrade" and got["transport"] == "websocket"
        if not any(there(got) for got in self.seen):
            self.next(there, seconds, "the upgrade")

    def emit(self, name, *args):
        self.do("io.emit", name=name, args=list(args))

    def ask(self, name, *args, seconds=10):
        """Emit with an acknowledgement, and wait for it."""
        self.acks += 1
        number = self.acks
        self.do("io.emit", name=name, args=list(args), ack=number)
        return self.next(lambda g: g["event"] == "ack" and g["ack"] == number, seconds, f"ack of {name}")["args"]

    def event(self, name, test=lambda *a: True, seconds=10):
        return self.next(lambda g: g["event"] == "event" and g["name"] == name and test(*g["args"]), seconds, name)

    def reply(self, event, *args):
        self.do("io.reply", ack=event["ack"], args=list(args))

    def close(self):
        self.do("io.close")


class Stream(Client):
    """npm's eventsource."""

    def event(self, type, test=lambda d: True, seconds=10):
        got = self.next(lambda g: g["event"] == "message" and (json.loads(g["text"]).get("type") == type) and
                        test(json.loads(g["text"]).get("data", {})), seconds, type)
        return {**json.loads(got["text"]), "last": got["last"]}

    def close(self):
        self.do("sse.close")


class Driver:
    """The node process with the clients in it."""

    def __init__(self):
        self.process = subprocess.Popen(["node", os.path.join(HERE, "driver.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, "NODE_PATH": os.path.join(os.path.dirname(HERE), "node_modules")})
        self.news = threading.Condition()
        self.clients = {}
        self.lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            got = json.loads(line)
            with self.news:
                if got["id"] in self.clients:
                    self.clients[got["id"]].log.append(got)
                self.news.notify_all()

    def write(self, command):
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()

    def _add(self, kind):
        with self.news:
            client = kind(self, len(self.clients) + 1)
            self.clients[client.number] = client
        return client

    def ws(self, url, token=None, headers=None, origin=None, **options):
        """Open a socket; with a token it comes in the Authorization header, and auth.ok is waited for."""
        client = self._add(Socket)
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = "Bearer " + token
        client.do("ws", url=url, options={"headers": headers, **({"origin": origin} if origin else {}), **options})
        if token:
            client.authed()
        return client

    def io(self, url, **options):
        client = self._add(Io)
        client.do("io", url=url, options=options)
        return client

    def sse(self, url, token=None, headers=None, types=EVENTS):
        client = self._add(Stream)
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = "Bearer " + token
        client.do("sse", url=url, headers=headers, types=list(types))
        return client

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
