// SPDX-License-Identifier: MIT
// A pipeline's definition: stages to the left, the graph they make to the right, redrawn as one types.
import { h } from "../app/dom.js";
import * as api from "../app/api.js";
import { discard, draft, keep } from "../app/drafts.js";
import { graph } from "../app/graph.js";
import * as f from "../app/format.js";
import { button, card, confirm, problem, toast, unsent } from "../app/ui.js";

const SIX = ["ingestion", "standardization", "validation", "processing", "quality_assessment", "export"];
const DATA = ["data-ingestion", "transformation", "analysis", "validation", "processing", "output"];
const LIMITS = [300, 600, 900, 300, 1200, 300];
const stage = (name, i) => ({
	name,
	type: name,
	required: true,
	timeout: LIMITS[i] ?? 300,
	max_retries: 3,
	capabilities: [],
	fan_out: false,
	depends_on: i ? [i] : [],
	validation: null
});

export default function editor(view) {
	const edited = view.params.pipeline_id;
	const place = edited ? `/pipelines/${edited}/edit` : "/pipelines/new";
	const blank = () => (edited ? null : { name: "", description: "", tags: [], stages: SIX.map(stage) });
	let d = draft(place) ?? blank(),
		kept = Boolean(draft(place));
	let wrong = null,
		busy = false,
		dirty = kept,
		errors = new Map();
	const change = fn => {
		fn();
		dirty = true;
		keep(place, d);
		view.draw();
	};

	const leave = event => {
		if (dirty) event.preventDefault();
	};

	window.addEventListener("beforeunload", leave);
	view.onEnd(() => window.removeEventListener("beforeunload", leave));

	async function load() {
		if (d) return;
		const p = await api.get("/pipelines/" + encodeURIComponent(edited), {}, view.signal);

		d = {
			name: p.name,
			description: p.description ?? "",
			tags: p.tags,
			stages: p.stages.map(s => ({
				max_retries: "",
				...s,
				validation: s.validation ? JSON.stringify(s.validation, null, 2) : null
			}))
		};
	}

	// Stage numbers in depends_on follow their stages when one goes or moves.
	function renumber(map) {
		for (const s of d.stages)
			s.depends_on = s.depends_on
				.map(x => map(x))
				.filter(Boolean)
				.sort();
	}
	function drop(i) {
		change(() => {
			d.stages.splice(i, 1);
			renumber(x => (x === i + 1 ? 0 : x > i + 1 ? x - 1 : x));
		});
	}
	function move(i, by) {
		change(() => {
			const j = i + by,
				[s] = d.stages.splice(i, 1);

			d.stages.splice(j, 0, s);
			renumber(x => (x === i + 1 ? j + 1 : x === j + 1 ? i + 1 : x));
		});
	}

	// The stages that wait for each other in a circle, as words; "" when there is none.
	function circle() {
		const done = new Set();

		for (let round = 0; round < d.stages.length; round++)
			d.stages.forEach((s, i) => {
				if (s.depends_on.every(x => done.has(x))) done.add(i + 1);
			});
		const stuck = d.stages.findIndex((_, i) => !done.has(i + 1)) + 1;
		const way = [];

		if (!stuck) return "";
		// Whoever is stuck waits for somebody who is: going from one to the next comes round.
		for (let at = stuck; !way.includes(at); at = d.stages[at - 1].depends_on.find(x => !done.has(x))) way.push(at);
		const last = d.stages[way.at(-1) - 1].depends_on.find(x => !done.has(x));
		const round = way.slice(way.indexOf(last)).sort();

		return `Stages ${round.slice(0, -1).join(", ")} and ${round.at(-1)} wait for each other in a circle; none could begin.`;
	}

	function body() {
		errors = new Map();
		const stages = d.stages.map((s, i) => {
			const out = {
				name: s.name.trim(),
				type: (s.type || s.name).trim(),
				required: s.required,
				timeout: Number(s.timeout),
				// Left empty: whatever the panel's default is when it runs.
				max_retries: String(s.max_retries).trim() === "" ? undefined : Number(s.max_retries),
				capabilities: s.capabilities,
				fan_out: s.fan_out,
				depends_on: s.depends_on
			};

			if (!out.name) errors.set(`$.stages[${i}].name`, "is needed");
			if (s.validation?.trim()) {
				try {
					out.validation = JSON.parse(s.validation);
				} catch (error) {
					errors.set(`$.stages[${i}].validation`, error.message);
				}
			}
			return out;
		});

		if (!d.name.trim()) errors.set("$.name", "is needed");
		return {
			name: d.name.trim(),
			...(d.description.trim() ? { description: d.description.trim() } : {}),
			tags: d.tags,
			stages
		};
	}

	async function save(event) {
		event.preventDefault();
		const b = body();

		wrong = errors.size
			? new Error("Some fields need a second look.")
			: circle()
				? new Error(circle())
				: null;
		if (wrong || busy) return view.draw();
		busy = true;
		view.draw();
		try {
			const p = edited ? await api.put("/pipelines/" + edited, b) : await api.post("/pipelines", b);

			dirty = false;
			discard(place);
			toast(edited ? "Saved." : `${p.name} is defined.`, "good");
			location.hash = "#/pipelines/" + p.pipeline_id;
		} catch (error) {
			wrong = error;
			errors = new Map(
				(error.fields ?? []).map(x => [
					x.field.replace(/\.(capabilities|tags|depends_on)\[\d+\]$/, ".$1"),
					x.message
				])
			);
		}
		busy = false;
		view.draw();
		return undefined;
	}

	function input(id, label, value, set, { path, type = "text", help, area, ...rest } = {}) {
		const error = errors.get(path);

		return h(
			"div.field",
			{ class: error ? "invalid" : "", key: id },
			h("label", { for: id }, label),
			h(area ? "textarea" : "input", {
				id,
				type: area ? null : type,
				value: value ?? "",
				spellcheck: "false",
				autocomplete: "off",
				"aria-invalid": error ? "true" : null,
				"aria-describedby": error || help ? id + "-note" : null,
				...rest,
				on: { input: e => change(() => set(e.target.value)) }
			}),
			error ? h("small.wrong", { id: id + "-note" }, error) : help ? h("small", { id: id + "-note" }, help) : null
		);
	}
	const list = text =>
		text
			.split(",")
			.map(x => x.trim())
			.filter(Boolean);
	const toggle = (id, label, value, set) =>
		h(
			"label.toggle",
			{ key: id },
			h("input", {
				id,
				type: "checkbox",
				checked: value,
				on: { change: e => change(() => set(e.target.checked)) }
			}),
			h("span", label)
		);

	function stageCard(s, i) {
		const at = `$.stages[${i}]`,
			n = d.stages.length;

		return h(
			"fieldset.stage-card",
			{ key: "stage" + i },
			h("legend", `${i + 1}. ${f.words(s.name) || "unnamed"}`),
			h(
				"div.tools",
				i > 0
					? h(
							"button.plain",
							{
								type: "button",
								"aria-label": `Move stage ${i + 1} up`,
								title: "Move up",
								on: { click: () => move(i, -1) }
							},
							"↑"
						)
					: null,
				i < n - 1
					? h(
							"button.plain",
							{
								type: "button",
								"aria-label": `Move stage ${i + 1} down`,
								title: "Move down",
								on: { click: () => move(i, 1) }
							},
							"↓"
						)
					: null,
				n > 1
					? h(
							"button.plain",
							{
								type: "button",
								"aria-label": `Remove stage ${i + 1}`,
								title: "Remove",
								on: { click: () => drop(i) }
							},
							"×"
						)
					: null
			),
			h(
				"div.fields",
				input(
					`s${i}-name`,
					"Name",
					s.name,
					v => {
						if (s.type === s.name) s.type = v;
						s.name = v;
					},
					{ path: at + ".name" }
				),
				input(
					`s${i}-type`,
					"Task type",
					s.type,
					v => {
						s.type = v;
					},
					{ path: at + ".type" }
				),
				input(
					`s${i}-caps`,
					"Capabilities",
					Array.isArray(s.capabilities) ? (s.capsText ?? s.capabilities.join(", ")) : "",
					v => {
						s.capsText = v;
						s.capabilities = list(v);
					},
					{ path: at + ".capabilities", help: "Separated by commas." }
				),
				input(
					`s${i}-limit`,
					"Time limit, seconds",
					s.timeout,
					v => {
						s.timeout = v;
					},
					{ path: at + ".timeout", type: "number", min: 1 }
				),
				input(
					`s${i}-tries`,
					"Retries",
					s.max_retries,
					v => {
						s.max_retries = v;
					},
					{ path: at + ".max_retries", type: "number", min: 0, max: 100, placeholder: "default" }
				),
				h(
					"div.field",
					h("span.label", { id: `s${i}-deps` }, "Waits for"),
					h(
						"div.chips",
						{ role: "group", "aria-labelledby": `s${i}-deps` },
						d.stages.map((o, k) =>
							k === i
								? null
								: h(
										"button",
										{
											type: "button",
											class: ["chip", s.depends_on.includes(k + 1) && "on"],
											"aria-pressed": String(s.depends_on.includes(k + 1)),
											title: o.name,
											on: {
												click: () =>
													change(() => {
														s.depends_on = s.depends_on.includes(k + 1)
															? s.depends_on.filter(x => x !== k + 1)
															: [...s.depends_on, k + 1].sort();
													})
											}
										},
										`${k + 1}`
									)
						)
					),
					errors.get(at + ".depends_on") ? h("small.wrong", errors.get(at + ".depends_on")) : null
				)
			),
			h(
				"div.toggles",
				toggle(`s${i}-required`, "Required: the run fails when it does", s.required !== false, v => {
					s.required = v;
				}),
				toggle(`s${i}-fan`, "Fans out over the items of its input", s.fan_out, v => {
					s.fan_out = v;
				})
			),
			h(
				"details",
				{ open: errors.has(at + ".validation") || s.validation ? true : null },
				h("summary", "Schema each result must meet"),
				input(
					`s${i}-valid`,
					"JSON Schema",
					s.validation,
					v => {
						s.validation = v;
					},
					{ path: at + ".validation", area: true, rows: 4 }
				)
			)
		);
	}

	function afresh() {
		discard(place);
		d = blank();
		dirty = kept = false;
		wrong = null;
		errors = new Map();
		view.refresh();
		view.draw();
	}

	async function template(names) {
		if (!dirty || (await confirm("Replace the stages?", "What you have entered for them goes.", "Replace them")))
			change(() => {
				d.stages = names.map(stage);
			});
	}

	return {
		name: "form",
		title: () => (edited ? `Edit ${d?.name ?? "pipeline"}` : "New pipeline"),
		back: edited ? ["#/pipelines/" + edited, "Pipeline"] : ["#/pipelines", "Pipelines"],
		load: edited ? load : null,
		wants: () => false,
		actions: () =>
			d
				? [
						button(edited ? "Save" : "Define it", { kind: "primary", disabled: busy, click: save }),
						button("Back", { href: edited ? "#/pipelines/" + edited : "#/pipelines" })
					]
				: [],
		view: () =>
			h(
				"form.editor",
				{ on: { submit: save }, novalidate: true },
				wrong ? problem(wrong) : null,
				kept ? unsent(afresh) : null,
				h(
					"div.sticky",
					card(
						"Graph",
						circle() ? h("span.wrong", { role: "alert" }, circle()) : null,
						graph(d.stages, { label: "Stages as defined" })
					)
				),
				card(
					null,
					null,
					h(
						"div.fields",
						input(
							"p-name",
							"Name",
							d.name,
							v => {
								d.name = v;
							},
							{ path: "$.name", required: true }
						),
						input(
							"p-tags",
							"Tags",
							d.tagsText ?? d.tags.join(", "),
							v => {
								d.tagsText = v;
								d.tags = list(v);
							},
							{ path: "$.tags", help: "Separated by commas." }
						),
						input(
							"p-text",
							"Description",
							d.description,
							v => {
								d.description = v;
							},
							{ path: "$.description" }
						)
					)
				),
				h("div.stages", d.stages.map(stageCard)),
				h(
					"div.actions",
					d.stages.length < 6
						? button("Add a stage", {
								icon: "plus",
								click: () =>
									change(() => d.stages.push({ ...stage("", d.stages.length), name: "", type: "" }))
							})
						: h("span.mute", "Six stages are the most there can be."),
					button("The standard six", { kind: "small", click: () => template(SIX) }),
					button("The data six", { kind: "small", click: () => template(DATA) })
				)
			)
	};
}
