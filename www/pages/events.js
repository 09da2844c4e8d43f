// SPDX-License-Identifier: MIT
// What happens, as it happens; and, before that, what the event stream still holds.
import { h } from "../app/dom.js";
import * as api from "../app/api.js";
import * as live from "../app/live.js";
import * as f from "../app/format.js";
import { agentLink } from "../app/names.js";
import { rewrite } from "../app/router.js";
import { badge, button, chips, empty, icon, tabs } from "../app/ui.js";

const KEPT = 500,
	AREAS = ["task", "agent", "pipeline", "stage", "system", "error"];

export const TABS = () =>
	[
		["events", "#/events", "Events"],
		...(api.may("system:config")
			? [
					["alerts", "#/alerts", "Alerts"],
					["audit", "#/audit", "Audit log"]
				]
			: [])
	];

const TONES = {
	completed: "completed",
	failed: "failed",
	removed: "inactive",
	retrying: "retrying",
	cancelled: "cancelled",
	occurred: "failed",
	alert: "warning",
	started: "running",
	assigned: "assigned",
	progress: "running"
};

function what(e) {
	const d = e.data ?? {},
		out = [];

	if (d.execution_id)
		out.push(
			h(
				"a",
				{ href: "#/runs/" + d.execution_id },
				d.stage_name ? `stage ${d.stage}, ${f.words(d.stage_name)}` : "run " + f.short(d.execution_id)
			),
			" "
		);
	if (d.task_id)
		out.push(
			h("a", { href: "#/tasks/" + d.task_id }, d.type ?? "task"),
			" ",
			h("code.mute", f.short(d.task_id)),
			" "
		);
	if (d.agent_id)
		out.push(
			d.name && !d.task_id
				? h("a", { href: "#/agents/" + d.agent_id }, d.name)
				: [h("span.mute", "on "), agentLink(d.agent_id)],
			" "
		);
	if (d.status) out.push(h("span.mute", d.stage_status ?? d.status), " ");
	if (typeof d.progress === "number" && /progress/.test(e.type)) out.push(h("span.num", f.percent(d.progress)), " ");
	if (typeof d.current_load === "number") out.push(h("span.mute", `load ${f.percent(d.current_load)}`), " ");
	if (d.error) out.push(h("span.cut.bad-text", d.error.message ?? d.error.code ?? ""));
	if (d.message && !d.error) out.push(h("span.cut", d.message));
	return out;
}

export default function events(view) {
	let query = view.query,
		held = null,
		list = [],
		seen = new Set(),
		waiting = 0,
		due = 0;
	const reads = api.may("system:config");
	const add = (e, front) => {
		if (!e.id || seen.has(e.id)) return false;
		seen.add(e.id);
		if (front) list.unshift(e);
		else list.push(e);
		if (list.length > KEPT * 2) for (const old of list.splice(KEPT)) seen.delete(old.id);
		return true;
	};

	// Before the socket speaks, and instead of it: the route that reads the stream. Workers have the socket only.
	async function load() {
		if (!reads) return;
		try {
			const fresh = await api.get("/events", { limit: 100 }, view.signal);

			for (const e of [...fresh].reverse()) add(e, true);
			list.sort((a, b) =>
				a.timestamp === b.timestamp ? (a.id < b.id ? 1 : -1) : a.timestamp < b.timestamp ? 1 : -1
			);
		} catch (error) {
			if (error.status !== 404) throw error;
		}
	}

	const on = () => (query.area ? query.area.split(",") : []);
	const hit = e =>
		(!on().length || on().includes(e.type.split(".")[0])) &&
		(!query.find || JSON.stringify([e.type, e.data]).toLowerCase().includes(query.find.toLowerCase()));
	const filter = change => {
		query = { ...query, ...change };
		rewrite("/events", query);
		view.draw();
	};

	return {
		name: "events-page",
		title: () => "Events",
		load,
		wants: () => false,
		requery(q) {
			query = q;
			view.draw();
		},
		event(e) {
			if (!e.data || !add(e, true)) return;
			waiting += held ? 1 : 0;
			// Thousands may come in a second; four pictures of them are enough.
			due ||= setTimeout(() => {
				due = 0;
				view.draw();
			}, 250);
		},
		actions: () => [
			held
				? button(`Go on${waiting ? `, ${waiting} new` : ""}`, {
						icon: "play",
						kind: "primary",
						click: () => {
							held = null;
							waiting = 0;
							view.draw();
						}
					})
				: button("Hold still", {
						icon: "pause",
						click: () => {
							held = [...list];
							waiting = 0;
							view.draw();
						}
					})
		],
		view() {
			const shown = (held ?? list).filter(hit).slice(0, KEPT);

			return [
				tabs("Records", TABS(), "events"),
				h(
					"div.filters",
					h(
						"div.search",
						icon("search"),
						h("input", {
							type: "search",
							placeholder: "Anything in an event",
							"aria-label": "Find events",
							value: query.find ?? "",
							on: { input: e => filter({ find: e.target.value }) }
						})
					),
					chips("Kinds", AREAS, on(), v => filter({ area: v.join(",") }))
				),
				shown.length
					? h(
							"div.feed",
							{ tabindex: "0", role: "region", "aria-label": "Events, newest first" },
							h(
								"ol",
								shown.map(e =>
									h(
										"li",
										{ key: e.id },
										h(
											"time",
											{ datetime: e.timestamp, title: e.id },
											f.clock(Date.parse(e.timestamp), true)
										),
										badge(TONES[e.type.split(".")[1]] ?? "mute", e.type),
										h("span.what", what(e))
									)
								)
							)
						)
					: empty(
							list.length
								? "No event matches."
								: live.mode() === "live"
									? "Nothing has happened yet."
									: "Events come when the relay is there.",
							live.mode() === "live"
								? "It is shown here as soon as it does."
								: "The other pages ask each second meanwhile."
						)
			];
		}
	};
}
