# SPDX-License-Identifier: MIT
"""Stage 3, validation: are the values possible, and are groups of people treated alike?

It reads all records. The range check counts what cannot be; one such value fails the stage. The bias check
compares how many person-years of each group saw a psychotherapist. By the four-fifths rule a group whose
share is under 80 % of another's deserves a look; a two-sided z-test says whether chance explains it, and the
mean mental health index whether less need does.
"""
import math

from stage import done, progress, read_task

RANGES = {
    "year": (1, 5), "site": (1, 6), "plan": (1, 24), "age": (0, 65), "income_usd": (0, 100000),
    "education_years": (0, 25), "family_size": (1, 20), "mental_health": (0, 100), "chronic_diseases": (0, 60),
    "general_health": (0, 100), "doctor_visits": (0, 366), "therapy_visits": (0, 366),
    "therapy_cost_usd": (0, 10000),
}
BIAS_GROUPS = {"female": ("men", "women"), "black": ("non-Black people", "Black people")}
FOUR_FIFTHS = 0.8


def check_ranges(record, report):
    for name, (low, high) in RANGES.items():
        value = record[name]
        if value is not None and not low <= value <= high:
            report["out_of_range"].append({"row": record["row"], "field": name, "value": value})
    if record["therapy_cost_usd"] > 0 and record["therapy_visits"] == 0:
        report["cost_without_visit"] += 1
    for name in record["gaps"]:
        report["gaps"][name] = report["gaps"].get(name, 0) + 1
    for name in record["imputed"]:
        report["imputed"][name] = report["imputed"].get(name, 0) + 1


def compare(name, sums):
    """The finding for one pair of groups; sums[value] = [person-years, with therapy, mental health total]."""
    rows = []
    for value, label in zip((False, True), BIAS_GROUPS[name]):
        n, users, mental = sums[value]
        rows.append({"group": label, "person_years": n, "with_therapy": users, "share": users / n,
                     "mean_mental_health": mental / n})
    low, high = sorted(rows, key=lambda r: r["share"])
    pooled = (low["with_therapy"] + high["with_therapy"]) / (low["person_years"] + high["person_years"])
    error = math.sqrt(pooled * (1 - pooled) * (1 / low["person_years"] + 1 / high["person_years"]))
    z = (high["share"] - low["share"]) / error
    ratio = low["share"] / high["share"]
    return {"attribute": name, "groups": rows, "ratio": ratio, "z": z, "p_value": math.erfc(z / math.sqrt(2)),
            "biased": ratio < FOUR_FIFTHS and z > 1.96}


task, items = read_task()
report = {"kind": "validation", "records": 0, "out_of_range": [], "duplicates": 0, "cost_without_visit": 0,
          "gaps": {}, "imputed": {}}
sums = {name: {False: [0, 0, 0.0], True: [0, 0, 0.0]} for name in BIAS_GROUPS}
seen = set()
for record in items:
    report["records"] += 1
    check_ranges(record, report)
    key = (record["person"], record["year"])
    report["duplicates"] += key in seen
    seen.add(key)
    for name in BIAS_GROUPS:
        if record[name] is not None:
            tally = sums[name][record[name]]
            tally[0] += 1
            tally[1] += record["therapy_visits"] > 0
            tally[2] += record["mental_health"]
    if report["records"] % 5000 == 0:
        progress(min(report["records"] / 20190, 1), f"{report['records']} records checked")

if report["out_of_range"] or report["duplicates"]:
    raise SystemExit(f"{len(report['out_of_range'])} values out of range, {report['duplicates']} duplicates: "
                     f"{report['out_of_range'][:5]}")
report["bias"] = [compare(name, sums[name]) for name in BIAS_GROUPS]
done([report])
