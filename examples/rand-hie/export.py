# SPDX-License-Identifier: MIT
"""Stage 6, export: people.csv, groups.csv, figures.json and report.html in the folder EXPORT_DIR.

The report is one file without outside parts: its charts are drawn here as SVG, its look is in report.html.
"""
import html
import json
import os

from figures import SUMS
from stage import HERE, done, progress, read_task


def write_csv(path, keys, rows):
    with open(path, "w") as f:
        f.write(",".join((*keys, *SUMS[:-1], "mean_mental_health")) + "\n")
        for row in rows:
            fields = [row[k] for k in (*keys, *SUMS[:-1])] + [round(row["mental_health"] / row["person_years"], 4)]
            f.write(",".join(f"{v:.10g}" if isinstance(v, float) else str(v) for v in fields) + "\n")


def percent(share):
    return f"{100 * share:.1f} %"


def bars(rows, unit=str, width=460):
    """A chart of horizontal bars: rows of (label, value, note, flagged)."""
    top = max(value for _, value, _, _ in rows)
    step, left, right = 34, 96, 62
    out = [f'<svg viewBox="0 0 {width} {step * len(rows) + 4}" role="img">']
    for i, (label, value, note, flagged) in enumerate(rows):
        y = i * step + 4
        length = max((width - left - right) * value / top, 1.5)
        css = ' class="flag"' if flagged else ""
        out.append(f'<g{css}><title>{html.escape(f"{label}: {unit(value)}. {note}")}</title>'
                   f'<text class="label" x="{left - 12}" y="{y + 17}">{html.escape(label)}</text>'
                   f'<rect class="track" x="{left}" y="{y + 3}" width="{width - left - right}" height="20" rx="4"/>'
                   f'<rect class="bar" x="{left}" y="{y + 3}" width="{length:.1f}" height="20" rx="4"/>'
                   f'<text class="value" x="{left + length + 8:.1f}" y="{y + 17}">{unit(value)}</text></g>')
    return "".join(out) + "</svg>"


def histogram(counts, width=460, height=170):
    """How the mental health index is spread, in steps of five points."""
    bins = [0] * 20
    for value, count in counts.items():
        bins[min(int(float(value) // 5), 19)] += count
    top, step, base = max(bins), (width - 20) / len(bins), height - 22
    out = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for i, count in enumerate(bins):
        tall = (base - 10) * count / top
        out.append(f'<g><title>{5 * i}–{5 * i + 5}: {count:,} person-years</title><rect class="bar" x="{10 + i * step + 1:.1f}" '
                   f'y="{base - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" rx="2"/></g>')
    out += [f'<text class="axis" x="{12 + tick / 100 * (width - 28):.1f}" y="{height - 4}">{tick}</text>'
            for tick in range(0, 101, 20)]
    return "".join(out) + f'<line class="axis" x1="10" x2="{width - 10}" y1="{base}" y2="{base}"/></svg>'


def by(groups, attribute, order, figure, unit, flagged=()):
    """A bar chart over the groups of one attribute."""
    found = {g["group"]: g for g in groups if g["by"] == attribute}
    rows = [(label, figure(found[name]), f'{found[name]["person_years"]:,} person-years', name in flagged)
            for name, label in order if name in found]
    return bars(rows, unit)


def bias_text(finding):
    low, high = sorted(finding["groups"], key=lambda g: g["share"])
    verdict = "Bias found" if finding["biased"] else "Within the four-fifths rule"
    p = finding["p_value"]
    chance = "less than one in a million" if p < 1e-6 else f"about one in {1 / p:,.0f}"
    return (f'<article class="{"bad" if finding["biased"] else "good"}"><h3>{verdict}: {low["group"]} and {high["group"]}</h3>'
            f'<p><b>{percent(low["share"])}</b> of the person-years of {low["group"]} and <b>{percent(high["share"])}</b> of '
            f'those of {high["group"]} saw a psychotherapist: a ratio of {finding["ratio"]:.2f}. The odds that chance alone '
            f'makes such a difference are {chance}. Mean mental health index: {low["mean_mental_health"]:.1f} and '
            f'{high["mean_mental_health"]:.1f}{", so need does not explain it" if finding["biased"] else ""}.</p></article>')


def report(total, groups, validation, quality, numbers):
    def visits(g): return g["doctor_visits"] / g["person_years"]
    def therapy(g): return g["with_therapy"] / g["person_years"]
    def each(value): return f"{value:.2f}"
    tiles = (("person-years", f'{numbers["rows"]:,}'), ("people", f'{numbers["people"]:,}'),
             ("doctor visits a year", f'{numbers["doctor_visits.mean"]:.2f}'),
             ("saw a psychotherapist", percent(total["with_therapy"] / total["person_years"])),
             ("spent on psychotherapy", f'$ {numbers["psychotherapy.cost_usd"]:,.0f}'))
    check_rows = "".join(f'<tr><td>{html.escape(c["figure"])}</td><td>{c["pipeline"]:,.6g}</td><td>{c["another_way"]:,.6g}</td>'
                         f'<td>{c["published"]:,.6g}</td><td class="ok">equal</td></tr>' for c in quality["checks"])
    gap_rows = "".join(f"<li><b>{count:,}</b> {name.replace('_', ' ')} {what}</li>"
                       for what, counts in (("missing", validation["gaps"]), ("imputed by the source", validation["imputed"]))
                       for name, count in sorted(counts.items()))
    same = [(v, v) for v in ("free", "25 %", "50 %", "95 %", "100 %")]
    fill = {
        "tiles": "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles),
        "bias": "".join(map(bias_text, sorted(validation["bias"], key=lambda f: f["ratio"]))),
        "chart_race": by(groups, "black", (("no", "not Black"), ("yes", "Black")), therapy, percent, ("yes",)),
        "chart_sex": by(groups, "sex", (("men", "men"), ("women", "women")), therapy, percent),
        "chart_plan": by(groups, "coinsurance", same, visits, each),
        "chart_age": by(groups, "age", [(v, v) for v in ("0–5", "6–17", "18–29", "30–44", "45–65")], visits, each),
        "chart_health": by(groups, "self-rated health", [(v, v) for v in ("excellent", "good", "fair", "poor")], visits, each),
        "chart_mental": histogram(total["mental_health_counts"]),
        "checks": check_rows, "gaps": gap_rows,
    }
    with open(os.path.join(HERE, "report.html")) as f:
        page = f.read()
    for name, value in fill.items():
        page = page.replace("{{" + name + "}}", value)
    return page


task, items = read_task()
by_kind = {item["kind"]: item for item in items}
validation, quality, merged = by_kind["validation"], by_kind["quality"], by_kind["figures"]
numbers, groups = merged["figures"], merged["groups"]
people = [dict(zip(merged["columns"], row)) for row in merged["people"]]
progress(0.5, "writing files")
where = os.environ.get("EXPORT_DIR", ".")
os.makedirs(where, exist_ok=True)
write_csv(os.path.join(where, "people.csv"), ("person",), people)
write_csv(os.path.join(where, "groups.csv"), ("by", "group"), groups)
with open(os.path.join(where, "figures.json"), "w") as f:
    json.dump({"figures": numbers, "validation": validation, "quality": quality, "groups": groups}, f, indent=1)
with open(os.path.join(where, "report.html"), "w") as f:
    f.write(report(merged["total"], groups, validation, quality, numbers))
files = [{"file": name, "bytes": os.path.getsize(os.path.join(where, name))}
         for name in ("people.csv", "groups.csv", "figures.json", "report.html")]
done([{"kind": "export", "folder": where, "files": files}])
