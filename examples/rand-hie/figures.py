# SPDX-License-Identifier: MIT
"""Add the batches of the processing stage up to the figures of the whole."""
import math

SUMS = ("person_years", "doctor_visits", "without_visit", "most_visits", "with_therapy", "therapy_visits",
        "therapy_cost_usd", "mental_health")


def merge(items):
    """(total, groups, people): one total, and the groups and people in the order they first came."""
    total, groups, people = {}, {}, {}
    for item in items:
        if item["kind"] == "total":
            add(total, item)
        elif item["kind"] == "group":
            add(groups.setdefault((item["by"], item["group"]), {}), item)
        elif item["kind"] == "person":
            add(people.setdefault(item["person"], {}), item)
    return total, list(groups.values()), list(people.values())


def add(into, part):
    for name, value in part.items():
        if name == "most_visits":
            into[name] = max(into.get(name, 0), value)
        elif isinstance(value, dict):
            add(into.setdefault(name, {}), value)
        elif isinstance(value, str) or name == "person":
            into[name] = value
        else:
            into[name] = into.get(name, 0) + value


def median(counts):
    """Of values that occur so often: {value as text: count}."""
    pairs = sorted((float(value), count) for value, count in counts.items())
    n = sum(count for _, count in pairs)
    middle, seen = [], 0
    for value, count in pairs:
        middle += [value for position in ((n - 1) // 2, n // 2) if seen <= position < seen + count]
        seen += count
    return sum(middle) / 2


def stdev(n, total, squares):
    return math.sqrt((squares - total * total / n) / (n - 1))


def share(groups, by, group):
    found = next(g for g in groups if (g["by"], g["group"]) == (by, group))
    return found["with_therapy"] / found["person_years"]


def figures(total, groups, people):
    """The figures of the run under the names of figures.json, dotted."""
    n = total["person_years"]
    return {
        "rows": n,
        "people": len(people),
        "missing.education_years": total["gaps"].get("education_years", 0),
        "missing.general_health_index": total["gaps"].get("general_health", 0),
        "doctor_visits.mean": total["doctor_visits"] / n,
        "doctor_visits.max": total["most_visits"],
        "doctor_visits.zero": total["without_visit"],
        "psychotherapy.rows_with_visit": total["with_therapy"],
        "psychotherapy.visits": total["therapy_visits"],
        "psychotherapy.cost_usd": total["therapy_cost_usd"],
        "mental_health_index.mean": total["mental_health"] / n,
        "mental_health_index.median": median(total["mental_health_counts"]),
        "mental_health_index.stdev": stdev(n, total["mental_health"], total["mental_health_squares"]),
        "share_with_psychotherapy.female.0": share(groups, "sex", "men"),
        "share_with_psychotherapy.female.1": share(groups, "sex", "women"),
        "share_with_psychotherapy.black.0": share(groups, "black", "no"),
        "share_with_psychotherapy.black.1": share(groups, "black", "yes"),
    }
