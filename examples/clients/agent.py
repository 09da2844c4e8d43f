#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small agent on the standard library: python3 agent.py [TASKS]

Reads MCP_URL and MCP_API_KEY (or MCP_ADMIN_USER and MCP_ADMIN_PASSWORD_FILE) from the environment, registers,
takes tasks that ask for the capability "shout", and answers with the text in capitals. Ends after TASKS tasks.
"""
import json
import os
import sys
import urllib.error
import urllib.request

BASE = os.environ["MCP_URL"].rstrip("/") + "/api/v1"


def call(method, path, body=None, token=None, key=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    if key:
        headers["X-API-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def register():
    """An identity of our own: with an API key, or as the administrator."""
    key = os.environ.get("MCP_API_KEY")
    token = None
    if not key:
        with open(os.environ["MCP_ADMIN_PASSWORD_FILE"]) as f:
            password = f.read().strip()
        token = call("POST", "/auth/login", {"username": os.environ["MCP_ADMIN_USER"], "password": password})[
            "access_token"
        ]
    return call(
        "POST", "/agents/register", {"name": "example-python", "type": "worker", "capabilities": ["shout"]}, token, key
    )


def work(task):
    return {"text": str(task["parameters"].get("text", "")).upper()}


def main():
    left = int(sys.argv[1]) if len(sys.argv) > 1 else -1
    me = register()
    token = call("POST", "/auth/token", {"agent_id": me["agent_id"], "auth_token": me["auth_token"]})["access_token"]
    while left != 0:
        for task in call("POST", f"/agents/{me['agent_id']}/claim?wait=30", {"max": 1}, token)["tasks"]:
            try:
                report = {"fence": task["fence"], "result": work(task)}
                path = "complete"
            except Exception as e:  # whatever goes wrong is the task's error, not ours
                report = {"fence": task["fence"], "error": {"type": "system", "message": str(e)}}
                path = "fail"
            try:
                call("POST", f"/tasks/{task['task_id']}/{path}", report, token)
                print(f"{path} {task['task_id']}", flush=True)
            except urllib.error.HTTPError as e:
                if e.code != 409:  # 409: the lease was lost, someone else does it
                    raise
            left -= 1


main()
