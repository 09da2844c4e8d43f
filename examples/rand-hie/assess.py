# SPDX-License-Identifier: MIT
"""Stage 5, quality assessment: are the pipeline's figures right?

The same figures are computed a second way, straight from the columns of the source file with Python's
statistics module, and both are compared with the published ones in figures.json. A difference fails the
stage, and with it the run: nothing is exported that does not add up. What adds up is handed on as one item.
"""
import json
import os
import statistics

from figures import SUMS, figures, merge
from stage import HERE, done, progress, read_task, source_rows


def the_other_way():
    """The figures again, from whole columns instead of batches."""
    _, header = next(source_rows(0, 0))
    columns = dict(zip(header, zip(*(fields for _, fields in source_rows()))))

    def numbers(name):
        return [float(text) for text in columns[name] if text]

    def share(group, value):
        users = [float(v) > 0 for v, g in zip(columns["psychotherapy_visits"], columns[group]) if g == value]
        return sum(users) / len(users)

    visits, mental = numbers("doctor_visits"), numbers("mental_health_index")
    therapy, cost = numbers("psychotherapy_visits"), numbers("psychotherapy_cost_usd")
    return {
        "rows": len(visits),
        "people": len(set(columns["person_id"])),
        "missing.education_years": columns["education_years"].count(""),
        "missing.general_health_index": columns["general_health_index"].count(""),
        "doctor_visits.mean": statistics.fmean(visits),
        "doctor_visits.max": max(visits),
        "doctor_visits.zero": visits.count(0),
        "psychotherapy.rows_with_visit": sum(v > 0 for v in therapy),
        "psychotherapy.visits": sum(therapy),
        "psychotherapy.cost_usd": sum(cost),
        "mental_health_index.mean": statistics.fmean(mental),
        "mental_health_index.median": statistics.median(mental),
        "mental_health_index.stdev": statistics.stdev(mental),
        **{f"share_with_psychotherapy.{group}.{value}": share(group, value)
           for group in ("female", "black") for value in "01"},
    }


def flatten(tree, before=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, before + name + ".")
        else:
            yield before + name, value


def same(a, b):
    return abs(a - b) <= 1e-6 * max(1.0, abs(b))


task, items = read_task()
total, groups, people = merge(items)
progress(0.5, "computing the figures a second way")
ours, again = figures(total, groups, people), the_other_way()
with open(os.path.join(HERE, "figures.json")) as f:
    published = dict(flatten(json.load(f)))
checks = [{"figure": name, "pipeline": ours.get(name), "another_way": again.get(name), "published": value,
           "same": name in ours and same(ours[name], value) and same(again[name], value)}
          for name, value in published.items()]
wrong = [check for check in checks if not check["same"]]
if wrong:
    raise SystemExit(f"{len(wrong)} figures differ: {json.dumps(wrong)}")
done([{"kind": "quality", "checks": checks, "differences": 0},
      {"kind": "figures", "figures": ours, "total": total, "groups": groups, "columns": ["person", *SUMS],
       "people": [[person["person"], *(person[name] for name in SUMS)] for person in people]}])
