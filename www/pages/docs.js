// SPDX-License-Identifier: MIT
// The API, from /openapi.json: the tables that validate requests, to read and to look things up in.
import { h } from "../app/dom.js";
import { openapi, resolve } from "../app/schema.js";
import { rewrite } from "../app/router.js";
import { button, empty, icon } from "../app/ui.js";

const METHODS = ["get", "post", "put", "delete", "patch"];

export default function docs(view) {
	let doc = null,
		routes = [],
		query = view.query;

	async function load() {
		if (doc) return;
		doc = await openapi();
		for (const [path, item] of Object.entries(doc.paths))
			for (const method of METHODS)
				if (item[method])
					routes.push({ method, path, op: item[method], tag: item[method].tags?.[0] ?? "other" });
	}

	const kind = s => {
		const r = resolve(doc, s),
			t = Array.isArray(r.type) ? r.type.filter(x => x !== "null").join(" or ") : r.type;
		const of = r.items ? resolve(doc, r.items) : null;

		return (
			(r.enum
				? r.enum.join(" · ")
				: r.anyOf
					? r.anyOf
							.map(kind)
							.filter(x => x !== "null")
							.join(" or ")
					: t === "array"
						? `list of ${of.title ?? of.type ?? "values"}${of.enum ? ": " + of.enum.join(" · ") : ""}`
						: (r.format ?? t ?? "any JSON")) +
			(r.minimum !== undefined && r.maximum !== undefined ? ` ${r.minimum}–${r.maximum}` : "")
		);
	};

	function rows(schema, prefix = "", depth = 0) {
		const s = resolve(doc, schema);

		return Object.entries(s.properties ?? {}).flatMap(([name, p]) => {
			const r = resolve(doc, p),
				inner = r.properties ? r : r.items ? resolve(doc, r.items) : null;

			return [
				h(
					"tr",
					h(
						"td",
						h("code", prefix + name),
						s.required?.includes(name) ? h("b.star", { title: "required" }, " *") : null
					),
					h("td.mute", kind(p)),
					h("td", r.description ?? "")
				),
				...(inner?.properties && depth < 2
					? rows(inner, `${prefix}${name}${r.items ? "[]" : ""}.`, depth + 1)
					: [])
			];
		});
	}
	const table = (title, body) =>
		body.length
			? [
					h("h3", title),
					h(
						"table.lean",
						h("thead", h("tr", h("th", "Field"), h("th", "Type"), h("th", "Meaning"))),
						h("tbody", body)
					)
				]
			: null;

	function detail({ op }) {
		const sent = op.requestBody?.content?.["application/json"]?.schema;
		const status = Object.keys(op.responses).find(s => s.startsWith("2")),
			got = resolve(doc, op.responses[status])?.content?.["application/json"]?.schema;
		const data = got && resolve(doc, got).properties?.data,
			item = data && (resolve(doc, data).items ?? data);
		const parameters = (op.parameters ?? []).map(p => resolve(doc, p));

		return [
			op.description && op.description !== op.summary ? h("p", op.description) : null,
			h(
				"p.mute",
				op["x-permission"]
					? ["Needs ", h("code", op["x-permission"]), ". "]
					: op.security?.length
						? "Any signed-in caller. "
						: "Open to anyone. ",
				`Success: ${status}.`
			),
			table(
				"Parameters",
				parameters.map(p =>
					h(
						"tr",
						h("td", h("code", p.name), p.required ? h("b.star", " *") : null),
						h("td.mute", `${p.in}, ${kind(p.schema)}`),
						h("td", p.schema?.description ?? p.description ?? "")
					)
				)
			),
			sent ? table("Body", rows(sent)) : null,
			item ? table(resolve(doc, data).items ? "Answer, each item of data" : "Answer, data", rows(item)) : null
		];
	}

	return {
		name: "docs",
		title: () => "API",
		load,
		wants: () => false,
		requery(q) {
			query = q;
			view.draw();
		},
		actions: () => [
			button("/docs", { href: "/docs", target: "_blank", rel: "noopener", title: "The same as one plain page" }),
			button("openapi.json", { href: "/openapi.json", target: "_blank", rel: "noopener" })
		],
		view() {
			const words = (query.find ?? "").toLowerCase().split(/\s+/).filter(Boolean);
			const shown = routes.filter(r =>
				words.every(w => `${r.method} ${r.path} ${r.op.summary} ${r.tag}`.toLowerCase().includes(w))
			);
			const by = new Map();

			for (const r of shown) by.set(r.tag, [...(by.get(r.tag) ?? []), r]);
			return [
				h(
					"div.filters",
					h(
						"div.search",
						icon("search"),
						h("input", {
							type: "search",
							placeholder: "Path, method or word",
							"aria-label": "Find a route",
							value: query.find ?? "",
							on: {
								input: e => {
									query = { find: e.target.value };
									rewrite("/api", query);
									view.draw();
								}
							}
						})
					),
					h(
						"span.mute.tally",
						`${shown.length} of ${routes.length} routes · ${doc.info.title} ${doc.info.version}`
					)
				),
				shown.length
					? [...by].map(([tag, list]) =>
							h(
								"section.card.routes",
								{ key: tag },
								h("header", h("h2", tag)),
								list.map(r => {
									const open = query.open === `${r.method} ${r.path}`;

									return h(
										"details",
										{
											key: r.method + r.path,
											open: open || null,
											on: {
												toggle: e => {
													const now = e.currentTarget?.open ?? e.target.open;
													if (now !== open) {
														query = {
															...query,
															open: now ? `${r.method} ${r.path}` : open ? "" : query.open
														};
														rewrite("/api", query);
														view.draw();
													}
												}
											}
										},
										h(
											"summary",
											h("b", { class: ["method", r.method] }, r.method.toUpperCase()),
											h("code", r.path),
											h("span.mute", r.op.summary)
										),
										open ? h("div.detail", detail(r)) : null
									);
								})
							)
						)
					: empty("No route matches.", "Try a part of its path.")
			];
		}
	};
}
