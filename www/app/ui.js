// SPDX-License-Identifier: MIT
// The pieces pages are made of.
import { h, patch } from "./dom.js";
import * as f from "./format.js";
import { may } from "./api.js";

const ICONS = {
	overview: "M2 2.5h5v6H2zM9 2.5h5v3.5H9zM9 8h5v5.5H9zM2 10.5h5v3H2z",
	agents: "M3.5 5.5h9v7h-9zM8 5.5V3M8 3h.01M6 8.5v1M10 8.5v1M1.5 8v2.5M14.5 8v2.5",
	tasks: "M2 4l1 1 2-2M2 8.5l1 1 2-2M2 13l1 1 2-2M7.5 4H14M7.5 8.5H14M7.5 13H14",
	pipelines: "M1.5 6h4v4h-4zM10.5 2h4v4h-4zM10.5 10h4v4h-4zM5.5 8H8M8 4v8M8 4h2.5M8 12h2.5",
	dead: "M2 3.5h12v9H2zM2 9.5h3.5l1 1.5h3l1-1.5H14M6.5 5.5l3 3M9.5 5.5l-3 3",
	events: "M1.5 8h3l2-5 3 10 2-5h3",
	docs: "M3 2h7l3 3v9H3zM10 2v3h3M5.5 8h5M5.5 11h5",
	sun: "M8 5a3 3 0 100 6 3 3 0 000-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
	moon: "M13.5 9.5A6 6 0 016.5 2.500a6 6 0 107 7z",
	auto: "M8 2a6 6 0 100 12A6 6 0 008 2zM8 2v12M8 5l4-1.500M8 8h6M8 11l4 1.500",
	out: "M6 2H2.500v12H6M10 5l3 3-3 3M13 8H6",
	more: "M3 8h.01M8 8h.01M13 8h.01",
	copy: "M5.5 5.5h8v8h-8zM3 10.500h-.5v-8h8V3",
	retry: "M13 8a5 5 0 11-1.500-3.500L13 6M13 2.500V6H9.500",
	plus: "M8 3v10M3 8h10",
	close: "M4 4l8 8M12 4l-8 8",
	play: "M4.500 3l8 5-8 5z",
	pause: "M5 3v10M11 3v10",
	stop: "M3.500 3.500h9v9h-9z",
	check: "M3 8.500l3.500 3.500L13 4.500",
	left: "M10 3L5 8l5 5",
	up: "M3 10l5-5 5 5",
	down: "M3 6l5 5 5-5",
	edit: "M3 13l.5-3L11 2.500l2.500 2.500L6 12.500z",
	trash: "M3 4.500h10M6 4.500V2.500h4v2M4.500 4.500l.5 9h6l.5-9",
	drain: "M8 2v8M5 7l3 3 3-3M3 13.500h10",
	warn: "M8 2L1.500 13.500h13zM8 6.500v3.500M8 12h.01",
	search: "M7 2.500a4.500 4.500 0 100 9 4.500 4.500 0 000-9zM10.500 10.500L14 14",
	filter: "M2 3h12l-4.500 5.500V13l-3-1.500v-3z"
};

export const icon = name =>
	h(
		"svg",
		{ class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
		h("path", { d: ICONS[name] })
	);

// ---- words and figures -----------------------------------------------------------------------------------------

const TONE = {
	completed: "good",
	active: "good",
	healthy: "good",
	live: "good",
	success: "good",
	passed: "good",
	allowed: "good",
	ok: "good",
	running: "info",
	assigned: "info",
	busy: "info",
	created: "info",
	connecting: "info",
	retrying: "warn",
	degraded: "warn",
	paused: "warn",
	draining: "warn",
	polling: "warn",
	warning: "warn",
	high: "warn",
	failed: "bad",
	error: "bad",
	unhealthy: "bad",
	offline: "bad",
	critical: "bad",
	denied: "bad",
	failure: "bad"
};
export const tone = status => TONE[status] ?? "mute";
export const badge = (status, text) =>
	h("span.badge", { class: tone(status) }, h("i.dot", { "aria-hidden": "true" }), text ?? f.words(status));

const PRIORITY = { critical: 4, high: 3, medium: 2, low: 1 };
export function priority(p) {
	return h(
		"span.prio",
		{ class: p },
		h(
			"span.bars",
			{ "aria-hidden": "true" },
			[1, 2, 3, 4].map(i => h("i", { class: i <= PRIORITY[p] ? "on" : "" }))
		),
		p
	);
}

// Relative times tick by themselves, see below.
export function time(iso, { absolute = false, withMs = false } = {}) {
	if (!iso) return h("span.mute", "–");
	const t = Date.parse(iso);

	return h(
		"time",
		{ datetime: iso, title: new Date(t).toLocaleString(), "data-ago": absolute ? null : "" },
		absolute ? f.stamp(t, withMs) : f.ago(t)
	);
}
setInterval(() => {
	for (const node of document.querySelectorAll("time[data-ago]")) {
		const text = f.ago(Date.parse(node.getAttribute("datetime")));

		if (node.textContent !== text) node.textContent = text;
	}
}, 1000);

export const id = (uuid, href) =>
	uuid ? h(href ? "a.id" : "span.id", { href, title: uuid }, f.short(uuid)) : h("span.mute", "–");

export function copyable(value, label = "Copy the id") {
	return h(
		"button.copy",
		{
			type: "button",
			title: label,
			"aria-label": label,
			on: {
				click: async () => {
					try {
						await navigator.clipboard.writeText(value);
						toast("Copied.");
					} catch {
						toast("The browser does not allow copying here.", "bad");
					}
				}
			}
		},
		icon("copy")
	);
}

export function bar(share, { label, tone: t = "accent" } = {}) {
	const percent = Math.round(Math.min(1, Math.max(0, share || 0)) * 100);

	return h(
		"span.meter",
		{
			class: t,
			role: "progressbar",
			"aria-valuenow": percent,
			"aria-valuemin": 0,
			"aria-valuemax": 100,
			"aria-label": label ?? "progress"
		},
		h("i", { style: { width: percent + "%" } })
	);
}

export const facts = rows =>
	h(
		"dl.facts",
		rows
			.filter(Boolean)
			.map(([name, value]) =>
				h(
					"div",
					h("dt", name),
					h("dd", value === null || value === undefined || value === "" ? h("span.mute", "–") : value)
				)
			)
	);

export const card = (title, actions, ...body) =>
	h(
		"section.card",
		title || actions ? h("header", h("h2", title), actions ? h("div.actions", actions) : null) : null,
		body
	);

// ---- doing ----------------------------------------------------------------------------------------------------

// permission: who lacks it does not see the button at all.
export function button(
	label,
	{ icon: i, kind = "", permission, click, disabled, type = "button", title, href, ...rest } = {}
) {
	if (permission && !may(permission)) return null;
	const content = [i ? icon(i) : null, h("span", label)];

	return href
		? h("a.button", { class: kind, href, title, ...rest }, content)
		: h("button.button", { class: kind, type, disabled, title, ...rest, on: click ? { click } : {} }, content);
}

// Run what a button does: the button rests meanwhile, success is said, an error is shown with its request id.
export async function act(what, done) {
	try {
		const result = await what();

		if (done) toast(typeof done === "function" ? done(result) : done, "good");
		return result;
	} catch (error) {
		if (error.name !== "AbortError") toast(error.message, "bad", error);
		return undefined;
	}
}

export function toast(text, kind = "", error = null) {
	const fields = error?.fields?.map(x => h("li", h("code", x.field), " ", x.message)) ?? [];
	const node = h(
		"div.toast",
		{ class: kind, role: kind === "bad" ? "alert" : "status" },
		h(
			"div",
			h("p", text),
			fields.length ? h("ul", fields) : null,
			error?.requestId ? h("p.request", "request ", h("code", error.requestId)) : null
		),
		h("button", { type: "button", "aria-label": "Dismiss", on: { click: () => node.remove() } }, icon("close"))
	);

	document.getElementById("toasts").append(node);
	setTimeout(() => node.remove(), kind === "bad" ? 12000 : 3500);
}

// A dialog with a form in it. body(close) describes it; resolves with what was passed to close().
export function dialog(title, body, { wide = false } = {}) {
	return new Promise(resolve => {
		const name = "d" + Math.random().toString(36).slice(2);
		const close = value => {
			node.close();
			node.remove();
			resolve(value);
		};
		const node = h(
			"dialog",
			{
				class: wide ? "wide" : "",
				"aria-labelledby": name,
				on: {
					cancel: e => {
						e.preventDefault();
						close(undefined);
					},
					click: e => e.target === node && close(undefined)
				}
			},
			h(
				"div.sheet",
				h(
					"header",
					h("h2", { id: name }, title),
					h(
						"button.plain",
						{ type: "button", "aria-label": "Close", on: { click: () => close(undefined) } },
						icon("close")
					)
				),
				body(close)
			)
		);

		document.body.append(node);
		node.showModal();
	});
}

// Asked once before something is destroyed.
export const confirm = (title, text, action) =>
	dialog(title, close => [
		h("div.body", h("p", text)),
		h(
			"footer",
			button("Keep it", { click: () => close(false) }),
			button(action, { kind: "danger", click: () => close(true) })
		)
	]).then(Boolean);

// ---- when there is nothing, not yet, or no more -----------------------------------------------------------------

export const empty = (title, text, ...actions) =>
	h("div.empty", h("p.lead", title), text ? h("p", text) : null, actions.length ? h("div.actions", actions) : null);
export const skeleton = (rows = 6) =>
	h(
		"div.skeleton",
		{ "aria-busy": "true", "aria-label": "Loading" },
		Array.from({ length: rows }, (_, i) => h("i", { style: { width: `${92 - ((i * 37) % 45)}%` } }))
	);

export function problem(error, again) {
	return h(
		"div.problem",
		{ role: "alert" },
		icon("warn"),
		h(
			"div",
			h("p", error.message),
			error.requestId ? h("p.request", `${error.code} · request `, h("code", error.requestId)) : null
		),
		again ? button("Try again", { click: again }) : null
	);
}

// Above a form that has come back as it was left.
export const unsent = afresh =>
	h(
		"div.note",
		{ role: "status" },
		h("span.grow", "Here is what you had begun; it is not saved yet."),
		button("Start afresh", { kind: "small", click: afresh })
	);

// ---- forms ----------------------------------------------------------------------------------------------------

export function field(label, control, { help, error, id: name } = {}) {
	const notes = [
		help ? h("small", { id: name + "-help" }, help) : null,
		error ? h("small.wrong", { id: name + "-error" }, error) : null
	];

	control.id = name;
	if (help || error)
		control.setAttribute(
			"aria-describedby",
			[help && name + "-help", error && name + "-error"].filter(Boolean).join(" ")
		);
	if (error) control.setAttribute("aria-invalid", "true");
	return h("div.field", { class: error ? "invalid" : "" }, h("label", { for: name }, label), control, notes);
}

export const select = (value, options, change, rest = {}) =>
	h(
		"select",
		{ value, ...rest, on: { change: e => change(e.target.value) } },
		options.map(o => (Array.isArray(o) ? h("option", { value: o[0] }, o[1]) : h("option", { value: o }, o)))
	);

// Toggles of which any number may be on.
export const chips = (label, all, on, change) =>
	h(
		"div.chips",
		{ role: "group", "aria-label": label },
		all.map(x =>
			h(
				"button",
				{
					type: "button",
					class: ["chip", on.includes(x) && "on", tone(x)],
					"aria-pressed": String(on.includes(x)),
					on: { click: () => change(on.includes(x) ? on.filter(y => y !== x) : [...on, x]) }
				},
				f.words(x)
			)
		)
	);

export const tabs = (label, entries, current) =>
	h(
		"nav.tabs",
		{ "aria-label": label },
		entries.map(([name, href, text]) => h("a", { href, "aria-current": name === current ? "page" : null }, text))
	);

export { h, patch };
