// SPDX-License-Identifier: MIT
// The fleet.
import { h } from "../app/dom.js";
import * as api from "../app/api.js";
import { drain, removeAgent, undrain } from "../app/actions.js";
import * as f from "../app/format.js";
import { rewrite } from "../app/router.js";
import { badge, bar, button, chips, empty, icon, time } from "../app/ui.js";

const STATES = ["active", "busy", "inactive", "error"];

const RANK = { error: 0, busy: 1, active: 1, inactive: 2 };

export const state = a => (!a.enabled ? badge("error", "disabled") : a.draining ? badge("draining") : badge(a.status));
export const load = a =>
	h(
		"span.load",
		bar(a.current_load, { label: `load of ${a.name}`, tone: a.current_load > 0.95 ? "warn" : "accent" }),
		h("span.num", f.percent(a.current_load))
	);

export default function agents(view) {
	let query = view.query,
		list = [],
		rates = new Map(),
		turn = 0,
		full = false,
		asked = 0;
	const filter = change => {
		query = { ...query, ...change };
		rewrite("/agents", query);
		view.refresh();
		view.draw();
	};

	async function load_() {
		const all = [];
		let cursor;

		do {
			const answer = await api.page("/agents", { limit: 500, cursor, status: query.status }, view.signal);

			all.push(...answer.data);
			cursor = answer.next_cursor;
		} while (cursor && all.length < 2000);
		// Who is there comes first.
		list = all.sort((a, b) => RANK[a.status] - RANK[b.status] || a.name.localeCompare(b.name));
		full = Boolean(cursor);
		// Success rates move slowly.
		if (turn++ % 5 === 0)
			for (const c of await api.get("/agents/discover", { limit: 500, status: STATES.join(",") }, view.signal))
				rates.set(c.agent_id, c);
	}

	const hit = a =>
		!query.find ||
		[a.name, a.type, a.agent_id, ...a.capabilities].some(x =>
			String(x).toLowerCase().includes(query.find.toLowerCase())
		);
	const more = (a, n) => [
		a.capabilities.slice(0, n).map(c => h("span.tag", c)),
		a.capabilities.length > n
			? h("span.tag.mute", { title: a.capabilities.slice(n).join(", ") }, `+${a.capabilities.length - n}`)
			: null
	];

	function row(a) {
		const rate = rates.get(a.agent_id);

		return h(
			"tr",
			{ key: a.agent_id },
			h("td", h("a.strong", { href: "#/agents/" + a.agent_id }, a.name), h("small.mute", a.type)),
			h("td", state(a), h("small.narrow.mute", time(a.last_heartbeat))),
			h("td.load-cell", load(a)),
			h("td.tags", more(a, 3)),
			h(
				"td.num",
				{
					class: rate?.ended && rate.success_rate < 0.8 ? "warn-text" : "",
					title: rate?.ended ? `of ${f.count(rate.ended)} attempts in 24 hours` : "no attempt in 24 hours"
				},
				rate?.ended ? f.percent(rate.success_rate) : "–"
			),
			h("td.num", time(a.last_heartbeat)),
			h(
				"td.end",
				a.draining
					? button("Undrain", {
							kind: "small",
							permission: "agent:manage",
							click: () => undrain(a).then(() => view.refresh()),
							"aria-label": `Undrain ${a.name}`
						})
					: button("Drain", {
							kind: "small",
							permission: "agent:manage",
							click: () => drain(a).then(() => view.refresh()),
							"aria-label": `Drain ${a.name}`
						}),
				button("Remove", {
					kind: "small danger",
					permission: "agent:manage",
					click: () => removeAgent(a).then(() => view.refresh()),
					"aria-label": `Remove ${a.name}`
				})
			)
		);
	}

	return {
		name: "fleet",
		always: true,
		title: () => "Agents",
		load: load_,
		requery(q) {
			query = q;
			view.refresh();
		},
		wants: event => event.type?.startsWith("agent."),
		view() {
			const shown = list.filter(hit),
				tally = STATES.map(s => [s, list.filter(a => a.status === s).length]).filter(([, n]) => n);

			return [
				h(
					"div.filters",
					h(
						"div.search",
						icon("search"),
						h("input", {
							type: "search",
							placeholder: "Name, type or capability",
							"aria-label": "Find an agent",
							value: query.find ?? "",
							on: {
								input: e => {
									clearTimeout(asked);
									const find = e.target.value;
									asked = setTimeout(() => filter({ find }), 150);
								}
							}
						})
					),
					chips("Status", STATES, query.status ? query.status.split(",") : [], on =>
						filter({ status: on.join(",") })
					),
					h("span.mute.tally", tally.map(([s, n]) => `${f.count(n)} ${s}`).join(" · "))
				),
				shown.length
					? h(
							"div.table",
							{ tabindex: "0", role: "region", "aria-label": "Fleet" },
							h(
								"table",
								h(
									"thead",
									h(
										"tr",
										h("th", "Agent"),
										h("th", "Status"),
										h("th", "Load"),
										h("th", "Capabilities"),
										h("th.num", "Success"),
										h("th.num", "Heartbeat"),
										h("th", h("span.hide", "Actions"))
									)
								),
								h("tbody", shown.map(row))
							),
							full ? h("p.mute.tail", "The first 2 000 agents.") : null
						)
					: list.length || query.status
						? empty("No agent matches.", "Loosen the filter to see more.")
						: empty(
								"No agents yet.",
								"Any program becomes one:",
								h("code.block", "build/mcpctl agent run --capability ocr -- ./ocr.py")
							)
			];
		}
	};
}
