// SPDX-License-Identifier: MIT
// What is wrong, and what was: the alerts, newest first, and where it stands what to do about each.
import { h, hold } from "../app/dom.js";
import * as f from "../app/format.js";
import { agentLink } from "../app/names.js";
import { Grid, Pages } from "../app/pages.js";
import { rewrite } from "../app/router.js";
import { badge, button, dialog, empty, facts, select, tabs, time } from "../app/ui.js";
import { TABS } from "./events.js";

const KINDS = [
	"error_rate",
	"response_time",
	"task_efficiency",
	"agent_gone",
	"agent_anomaly",
	"service_down",
	"failed_logins",
	"permission_probes"
];
const UNITS = { share: v => f.percent(v, 1), ms: v => f.duration(v), s: v => f.duration(v * 1000) };

const figure = (a, v) => UNITS[a.unit]?.(v) ?? `${f.count(Math.round(v))} ${a.unit ?? ""}`;
const state = a => (a.status === "active" ? badge(a.severity) : badge("resolved"));
const lasted = a => f.duration((f.ms(a.resolved_at) ?? Date.now()) - f.ms(a.since));
export const about = a => (/^agent_/.test(a.kind) && a.subject ? agentLink(a.subject) : (a.subject ?? "the panel"));

export const look = a =>
	dialog(f.words(a.kind), () =>
		h(
			"div.body",
			h("p", a.message),
			facts([
				["State", state(a)],
				["About", about(a)],
				["Last seen", figure(a, a.value)],
				["Threshold", figure(a, a.threshold)],
				["Since", time(a.since)],
				a.resolved_at ? ["Resolved", time(a.resolved_at)] : null,
				["Lasted", lasted(a)],
				["What to do", h("code", a.runbook)]
			])
		)
	);

export default function alerts(view) {
	let query = view.query;
	const pages = new Pages({ path: "/alerts", key: "alert_id", signal: view.signal });
	const opener = a => h("button.link", { type: "button", on: { click: () => look(a) } }, f.words(a.kind));
	const columns = [
		{ label: "State", class: "c-status", cell: state },
		{ label: "Alert", class: "c-kind", cell: opener },
		{ label: "Message", class: "c-wide", cell: a => h("span.cut", { title: a.message }, a.message) },
		{ label: "About", class: "c-who", cell: about },
		{ label: "Lasted", class: "c-num num", cell: lasted },
		{ label: "Since", class: "c-time num", cell: a => time(a.since) }
	];
	const narrow = a => [
		h("span.line", state(a), opener(a), h("span.right", time(a.since))),
		h("span.line.mute", h("span.cut", a.message))
	];
	const grid = new Grid({
		columns,
		narrow,
		key: "alert_id",
		label: "Alerts",
		open: look,
		need: () => pages.more().then(more => more && grid.set(pages.rows, pages.done)),
		nothing: () =>
			Object.keys(query).length
				? empty(
						"No alert matches.",
						"Loosen the filter to see more.",
						button("Clear the filter", { click: () => filter({ status: "", kind: "" }) })
					)
				: empty("No alert was ever raised.", "What crosses a threshold appears here, and stays on record.")
	});

	view.onEnd(() => grid.end());
	pages.reset(query);

	function filter(change) {
		query = Object.fromEntries(Object.entries({ ...query, ...change }).filter(([, v]) => v));
		rewrite("/alerts", query);
		pages.reset(query);
		grid.top();
		view.refresh();
		view.draw();
	}

	return {
		name: "list",
		title: () => "Alerts",
		wants: e => e.type === "system.alert",
		requery(q) {
			query = q;
			pages.reset(q);
			grid.top();
			view.refresh();
		},
		async load() {
			const [from, to] = grid.range();

			await pages.refresh(from, to, grid.atTop);
			grid.set(pages.rows, pages.done);
		},
		view: () => [
			tabs("Records", TABS(), "alerts"),
			h(
				"div.filters",
				select(
					query.status ?? "",
					[
						["", "Active and resolved"],
						["active", "Active"],
						["resolved", "Resolved"]
					],
					v => filter({ status: v }),
					{ "aria-label": "State" }
				),
				select(
					query.kind ?? "",
					[["", "Any alert"], ...KINDS.map(k => [k, f.words(k)])],
					v => filter({ kind: v }),
					{ "aria-label": "Alert" }
				)
			),
			hold(grid.el)
		],
		painted: () => grid.draw()
	};
}
