# SPDX-License-Identifier: MIT
"""Stage 2, standardization: give the fields names, types and units, and deal with the gaps.

A gap is filled only where the source says what belongs there: a person without any of the three flags for
good, fair and poor health rated it excellent. Everything else is marked: `gaps` names what is missing,
`imputed` the 0/1 columns into which the source put an estimate (0.4759); such a person belongs to no group.
"""
from stage import done, read_task

COINSURANCE = {"0": "free", "25": "25 %", "50": "50 %", "95": "95 %", "100": "100 %"}


def number(text):
    if text == "":
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def flag(record, name, text):
    if text in ("0", "1"):
        return text == "1"
    record["gaps" if text == "" else "imputed"].append(name)
    return None


def standardize(raw):
    (row, person, year, site, plan, coinsurance, female, black, age, income, education, family, mental, chronic,
     limitation, general, good, fair, poor, visits, therapy_visits, therapy_cost) = raw
    record = {
        "row": row, "person": int(person), "year": int(year), "site": int(site), "plan": int(plan),
        "coinsurance": COINSURANCE.get(coinsurance, coinsurance), "age": number(age), "income_usd": number(income),
        "education_years": number(education), "family_size": number(family),
        "mental_health": number(mental), "chronic_diseases": number(chronic), "general_health": number(general),
        "doctor_visits": number(visits), "therapy_visits": number(therapy_visits),
        "therapy_cost_usd": number(therapy_cost), "gaps": [], "imputed": [],
    }
    record["female"] = flag(record, "female", female)
    record["black"] = flag(record, "black", black)
    record["physical_limitation"] = flag(record, "physical_limitation", limitation)
    rated = [name for name, text in (("good", good), ("fair", fair), ("poor", poor)) if text == "1"]
    record["self_rated_health"] = rated[0] if rated else "excellent"
    record["gaps"] += [name for name in ("education_years", "general_health") if record[name] is None]
    return record


task, items = read_task()
done([standardize(raw) for raw in items])
