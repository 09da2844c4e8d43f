# SPDX-License-Identifier: MIT
"""Stage 1, ingestion: read the rows that the input's items name ({"from":1,"to":10}) from the source.

Nothing is interpreted yet: a record is its row number and its fields as text.
"""
from stage import done, read_task, source_rows

COLUMNS = 21

task, items = read_task()
wanted = list(items)
records = []
for number, fields in source_rows(min(w["from"] for w in wanted), max(w["to"] for w in wanted)):
    if not any(w["from"] <= number <= w["to"] for w in wanted):
        continue
    if len(fields) != COLUMNS:
        raise SystemExit(f"row {number} has {len(fields)} fields instead of {COLUMNS}")
    records.append([number, *fields])
done(records)
