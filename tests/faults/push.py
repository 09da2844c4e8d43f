# SPDX-License-Identifier: MIT
"""An agent that is pushed to: a small web server that does each task at once."""
import collections
import http.server
import json
import secrets
import threading
import time


class PushAgent:
    def __init__(self, panel, delay=0.0, **more):
        self.fences = collections.defaultdict(list)     # task id -> fences it was pushed with
        self.dead = False
        self.capability = "push-" + secrets.token_hex(4)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.fences[body["task"]["task_id"]].append(body["fence"])
                time.sleep(delay)
                if outer.dead:
                    self.close_connection = True
                    return
                self.answer(json.dumps({"result": {"done": body["task"]["task_id"]}}).encode())

            def do_GET(self):
                if outer.dead:
                    self.close_connection = True
                else:
                    self.answer(b"{}")

            def answer(self, body):
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *_):
                pass    # a caller that is killed breaks its connections

        self.server = Server(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        self.agent = panel.register_agent(capabilities=[self.capability],
                                          endpoints={"task": url + "/task", "health": url + "/health"}, **more)

    def die(self):
        """As a process does: connections break, and nobody listens any more."""
        self.dead = True
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.dead:
            self.die()
