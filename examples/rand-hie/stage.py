# SPDX-License-Identifier: MIT
"""What every stage script here shares: how a task comes in and a result goes out.

`mcpctl agent run` starts the script once for each task. The task is the first line of standard input; a
stage's input stands in its parameters, or, when it is large, follows as one JSON line an item. The result
is the JSON written to standard output. What is written to descriptor 3 is shown as progress.
"""
import gzip
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def read_task():
    """The task and an iterator over the items of its input."""
    task = json.loads(sys.stdin.readline())
    given = task["parameters"].get("input")
    return task, (items_of(given) if given is not None else map(json.loads, filter(str.strip, sys.stdin)))


def items_of(value):
    """The items of an input, also when it is made of several stages' outputs."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        yield from value["items"]
    elif isinstance(value, dict):
        for part in value.values():
            yield from items_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from items_of(part)


def progress(fraction, message):
    """Shown in the panel; also renews the lease. Without an agent around it, nothing happens."""
    try:
        os.write(3, (json.dumps({"progress": fraction, "message": message}) + "\n").encode())
    except OSError:
        pass


def done(items, **more):
    json.dump({"items": items, **more}, sys.stdout, separators=(",", ":"))


def source_rows(first=1, last=10 ** 9):
    """Rows of the source file from..to, each as (number, fields); the header is row 0."""
    with gzip.open(os.path.join(HERE, "rand-hie.csv.gz"), "rt") as f:
        for number, line in enumerate(f):
            if number > last:
                return
            if number >= first:
                yield number, line.rstrip("\n").split(",")
