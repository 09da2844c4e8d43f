# SPDX-License-Identifier: MIT
"""Fixtures for every test that needs a running panel.

    panel       one panel for the whole session: do not kill its parts
    new_panel   a factory of private ones: new_panel(TASK_LEASE=1), new_panel(server="apache")
    mongodb     URI of a MongoDB for the session, or a skip that says why there is none

Which store and web server they run on is chosen once for the session:
    pytest tests/api --store mongo --server apache      (or MCP_TEST_STORE, MCP_TEST_SERVER)
"""
import os
import subprocess
import sys
import tempfile
import shutil

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from panel import TREE, Panel  # noqa: E402

MONGOD = os.path.join(TREE, "tests", "mongod")


def pytest_addoption(parser):
    group = parser.getgroup("panel")
    group.addoption("--store", default=os.environ.get("MCP_TEST_STORE", "sqlite"), choices=("sqlite", "mongo"))
    group.addoption("--server", default=os.environ.get("MCP_TEST_SERVER", "lighttpd"), choices=("lighttpd", "apache"))


def pytest_report_header(config):
    return f"panel: {config.getoption('--store')} behind {config.getoption('--server')}"


@pytest.fixture(scope="session")
def store(request):
    return request.config.getoption("--store")


@pytest.fixture(scope="session")
def server(request):
    return request.config.getoption("--server")


@pytest.fixture(scope="session")
def mongodb():
    if os.environ.get("MONGODB_URI"):
        yield os.environ["MONGODB_URI"]
        return
    where = tempfile.mkdtemp(prefix="mcp-mongod.", dir="/tmp")
    try:
        got = subprocess.run([MONGOD, "start", where], capture_output=True, text=True)
        if got.returncode == 3:
            pytest.skip("MongoDB is not available: " + got.stderr.strip())
        assert got.returncode == 0, got.stderr
        yield got.stdout.split("'")[1]
    finally:
        subprocess.run([MONGOD, "stop", where])
        shutil.rmtree(where, ignore_errors=True)


@pytest.fixture(scope="session")
def panel_options(request, store, server):
    """Keyword arguments of Panel for the store and web server of this session."""
    options = {"store": store, "server": server}
    if store == "mongo":
        options["mongodb_uri"] = request.getfixturevalue("mongodb")
    return options


@pytest.fixture(scope="session")
def panel(panel_options):
    with Panel(**panel_options) as shared:
        yield shared


@pytest.fixture
def new_panel(panel_options):
    """new_panel(KEY=value...) starts a private panel with these settings; `own_mongo=True` gives it a
    mongod of its own to kill, `start=False` leaves the starting to the test."""
    opened = []

    def make(own_mongo=False, start=True, server=None, **settings):
        options = dict(panel_options)
        if own_mongo:
            options.pop("mongodb_uri", None)
        if server:
            options["server"] = server
        made = Panel(settings={k: str(v) for k, v in settings.items()}, **options)
        opened.append(made)
        return made.start() if start else made

    yield make
    failures = []
    for made in opened:
        try:
            made.close()
        except AssertionError as why:
            failures.append(str(why))
    assert not failures, "\n".join(failures)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its panel's logs."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for value in item.funcargs.values():
            if isinstance(value, Panel):
                for part in ("api", "scheduler", "relay", "web"):
                    tail = "\n".join(value.log(part).splitlines()[-15:])
                    report.sections.append((f"end of {part}.log", tail))
