// SPDX-License-Identifier: MIT
// Who did what: the audit log, and whether its chains are whole.
import { h, hold } from "../app/dom.js";
import * as api from "../app/api.js";
import * as f from "../app/format.js";
import { JsonView } from "../app/json.js";
import { Grid, Pages } from "../app/pages.js";
import { rewrite } from "../app/router.js";
import { act, badge, button, dialog, empty, id, select, tabs, time } from "../app/ui.js";
import { TABS } from "./events.js";

const KINDS = [
	"authentication",
	"authorization",
	"data_access",
	"rate_limit",
	"sanitize",
	"config",
	"key",
	"export",
	"deletion"
];

const who = r => (r.actor_kind ? f.words(r.actor_kind) : r.actor ? "account" : "nobody");

export default function audit(view) {
	let query = view.query,
		asked = 0,
		typed = {},
		check = null;
	const pages = new Pages({ path: "/audit-logs", key: "audit_id", signal: view.signal });
	const columns = [
		{ label: "Outcome", class: "c-status", cell: r => badge(r.outcome) },
		{
			label: "Action",
			class: "c-type",
			cell: r => h("button.link", { type: "button", on: { click: () => look(r) } }, r.action)
		},
		{ label: "Kind", class: "c-kind", cell: r => h("span.mute", f.words(r.kind)) },
		{ label: "Who", class: "c-who", cell: r => [h("span", who(r)), " ", id(r.actor)] },
		{
			label: "What",
			class: "c-wide",
			cell: r => [
				r.resource_type ? h("span", f.words(r.resource_type), " ") : null,
				id(r.resource_id, where(r)),
				r.reason ? h("span.mute.cut", r.reason) : null
			]
		},
		{ label: "From", class: "c-ip mute", cell: r => r.ip ?? "" },
		{ label: "When", class: "c-time num", cell: r => time(r.time) }
	];
	const narrow = r => [
		h(
			"span.line",
			badge(r.outcome),
			h("button.link", { type: "button", on: { click: () => look(r) } }, r.action),
			h("span.right", time(r.time))
		),
		h("span.line.mute", who(r), " ", f.short(r.actor), h("span.right", r.ip ?? ""))
	];
	const grid = new Grid({
		columns,
		narrow,
		key: "audit_id",
		label: "Audit log",
		open: r => look(r),
		need: () => pages.more().then(more => more && grid.set(pages.rows, pages.done)),
		nothing: () => empty("No record matches.", "")
	});

	view.onEnd(() => grid.end());
	const ask = () => ({ ...query });
	pages.reset(ask());

	const where = r =>
		({ task: "#/tasks/", agent: "#/agents/", pipeline: "#/pipelines/", execution: "#/runs/" })[r.resource_type] &&
		r.resource_id
			? { task: "#/tasks/", agent: "#/agents/", pipeline: "#/pipelines/", execution: "#/runs/" }[
					r.resource_type
				] + r.resource_id
			: undefined;
	const look = r => dialog(r.action, () => h("div.body", new JsonView("the record", 3).show(r).el), { wide: true });

	function filter(change) {
		query = Object.fromEntries(Object.entries({ ...query, ...change }).filter(([, v]) => v));
		rewrite("/audit", query);
		pages.reset(ask());
		grid.top();
		view.refresh();
		view.draw();
	}

	async function verify() {
		check = (await act(() => api.get("/audit-logs/verify"))) ?? null;
		view.draw();
	}
	const input = (name, label) =>
		h("input", {
			type: "search",
			placeholder: label,
			"aria-label": label,
			value: query[name] ?? "",
			on: {
				input: e => {
					clearTimeout(asked);
					typed[name] = e.target.value.trim();
					asked = setTimeout(() => {
						filter(typed);
						typed = {};
					}, 300);
				}
			}
		});

	return {
		name: "list",
		title: () => "Audit log",
		wants: () => true,
		requery(q) {
			query = q;
			pages.reset(ask());
			view.refresh();
		},
		async load() {
			const [from, to] = grid.range();

			await pages.refresh(from, to, grid.atTop);
			grid.set(pages.rows, pages.done);
		},
		actions: () => [button("Verify the chains", { icon: "check", click: verify })],
		view: () => [
			tabs("Records", TABS(), "audit"),
			check
				? h(
						"div.note",
						{ role: "status", class: check.verified ? "good" : "bad" },
						badge(check.verified ? "healthy" : "failed", check.verified ? "whole" : "broken"),
						h(
							"span",
							`${f.count(check.records)} records in ${f.count(check.chains)} chains looked at${
								check.problem_count
									? `, ${f.count(check.problem_count)} problems: ${check.problems
											.slice(0, 3)
											.map(p => `${p.problem} at ${p.seq}`)
											.join("; ")}`
									: "; each joins on to the one before."
							}`
						)
					)
				: null,
			h(
				"div.filters",
				select(
					query.kind ?? "",
					[["", "Any kind"], ...KINDS.map(k => [k, f.words(k)])],
					v => filter({ kind: v }),
					{ "aria-label": "Kind" }
				),
				select(
					query.outcome ?? "",
					[["", "Any outcome"], "success", "failure", "denied"],
					v => filter({ outcome: v }),
					{ "aria-label": "Outcome" }
				),
				h("div.search", input("action", "Action")),
				h("div.search", input("actor", "Who, by id")),
				h("div.search", input("request_id", "Request id"))
			),
			hold(grid.el)
		],
		painted: () => grid.draw()
	};
}
