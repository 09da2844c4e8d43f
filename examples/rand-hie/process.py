# SPDX-License-Identifier: MIT
"""Stage 4, processing: the figures of one batch of records, by person, by group and in total.

A batch is a slice of the whole, so everything here can be added up later: sums, sums of squares, counts.
The median is not a sum: the total carries how often each value of the mental health index occurs.
"""
from stage import done, read_task

AGES = ((0, "0–5"), (6, "6–17"), (18, "18–29"), (30, "30–44"), (45, "45–65"))
YES_NO = {True: "yes", False: "no", None: "not known"}


def age_band(age):
    return [label for low, label in AGES if age >= low][-1]


def groups_of(record):
    yield "sex", {True: "women", False: "men", None: "not known"}[record["female"]]
    yield "black", YES_NO[record["black"]]
    yield "coinsurance", record["coinsurance"]
    yield "age", age_band(record["age"])
    yield "self-rated health", record["self_rated_health"]
    yield "study year", str(record["year"])


def add(into, record):
    visits, therapy = record["doctor_visits"], record["therapy_visits"]
    into["person_years"] = into.get("person_years", 0) + 1
    into["doctor_visits"] = into.get("doctor_visits", 0) + visits
    into["without_visit"] = into.get("without_visit", 0) + (visits == 0)
    into["most_visits"] = max(into.get("most_visits", 0), visits)
    into["with_therapy"] = into.get("with_therapy", 0) + (therapy > 0)
    into["therapy_visits"] = into.get("therapy_visits", 0) + therapy
    into["therapy_cost_usd"] = into.get("therapy_cost_usd", 0) + record["therapy_cost_usd"]
    into["mental_health"] = into.get("mental_health", 0) + record["mental_health"]


task, items = read_task()
people, groups = {}, {}
total = {"kind": "total", "mental_health_squares": 0.0, "mental_health_counts": {}, "gaps": {}}
for record in items:
    person = people.setdefault(record["person"], {"kind": "person", "person": record["person"]})
    add(person, record)
    add(total, record)
    for group in groups_of(record):
        add(groups.setdefault(group, {"kind": "group", "by": group[0], "group": group[1]}), record)
    mental = record["mental_health"]
    total["mental_health_squares"] += mental * mental
    counts = total["mental_health_counts"]
    counts[str(mental)] = counts.get(str(mental), 0) + 1
    for name in record["gaps"]:
        total["gaps"][name] = total["gaps"].get(name, 0) + 1
done([total, *groups.values(), *people.values()])
