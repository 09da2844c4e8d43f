# SPDX-License-Identifier: MIT
"""The programs of docs/guides/integration.md, run as they stand there."""
import os
import re
import subprocess
import time

import pytest

from panel import TREE

with open(os.path.join(TREE, "docs/guides/integration.md")) as f:
    BLOCKS = re.findall(r"<!-- runs: ([\w-]+), prints (.+?) -->\n```\w+\n(.*?)```", f.read(), re.S)

# A page has these from the browser.
PAGE = 'const MCP_URL = process.env.MCP_URL, TOKEN = process.env.TOKEN;\nif (!globalThis.WebSocket) globalThis.WebSocket = require("ws");\n'


def test_the_guide_has_its_programs():
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("how,prints,text", BLOCKS, ids=[f"{i}-{b[0]}" for i, b in enumerate(BLOCKS)])
def test_program(panel, tmp_path, how, prints, text):
    kind, _, role = how.partition("-")
    agent = panel.register_agent(capabilities=["guide" + str(time.time_ns())])
    file = tmp_path / "program.cjs"
    file.write_text((PAGE if role == "page" else "") + text)
    command = {"node": ["node"], "python": ["python3"], "sh": ["sh"]}[kind] + [str(file)]
    env = {**os.environ, "MCP_URL": panel.url, "TOKEN": agent.token if role == "agent" else panel.admin_token, "AGENT_ID": agent.id,
           "NODE_PATH": os.path.join(TREE, "tests/node_modules")}
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            for _ in range(50):
                task = panel.submit("guide", requirements={"capabilities": agent.capabilities})["task_id"]
                time.sleep(0.2)
                said = (tmp_path / "out").read_text()
                if prints.strip('"') in said:
                    break
            else:
                pytest.fail(said)
        finally:
            process.terminate()
            process.wait(10)
    if how == "node-agent":
        panel.wait_for(lambda: "completed" in {t["status"] for t in panel.get("/tasks?type=guide&limit=50").data}, 5, "a completed task")
    assert task
