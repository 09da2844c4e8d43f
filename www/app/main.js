// SPDX-License-Identifier: MIT
// The frame around the pages: who is signed in, which page the address names, and when a page looks again.
import { h, hold, patch } from "./dom.js";
import * as api from "./api.js";
import { forget } from "./drafts.js";
import * as live from "./live.js";
import { onNames } from "./names.js";
import { button, dialog, icon, problem, skeleton, toast } from "./ui.js";
import { address, here } from "./router.js";

// path, module, the entry of the rail it belongs to, the permission without which it is not shown
const ROUTES = [
	["overview", "overview", "overview", "system:health"],
	["agents", "agents", "agents", "agent:read"],
	["agents/:agent_id", "agent", "agents", "agent:read"],
	["tasks", "tasks", "tasks", "task:read"],
	["tasks/new", "submit", "tasks", "task:manage"],
	["tasks/:task_id", "task", "tasks", "task:read"],
	["pipelines", "pipelines", "pipelines", "pipeline:read"],
	["pipelines/new", "editor", "pipelines", "pipeline:create"],
	["pipelines/:pipeline_id", "pipeline", "pipelines", "pipeline:read"],
	["pipelines/:pipeline_id/edit", "editor", "pipelines", "pipeline:manage"],
	["runs", "runs", "pipelines", "pipeline:read"],
	["runs/:execution_id", "run", "pipelines", "pipeline:read"],
	["dead-letters", "dead", "dead-letters", "task:manage"],
	["events", "events", "events", null],
	["alerts", "alerts", "events", "system:config"],
	["audit", "audit", "events", "system:config"],
	["api", "docs", "api", null]
];
const RAIL = [
	["overview", "Overview", "overview"],
	["agents", "Agents", "agents"],
	["tasks", "Tasks", "tasks"],
	["pipelines", "Pipelines", "pipelines"],
	["dead-letters", "Dead letters", "dead"],
	["events", "Events", "events"],
	["api", "API", "docs"]
];
const MODES = {
	live: "Events arrive as they happen.",
	polling: "The relay does not answer; the page asks each second.",
	offline: "The panel does not answer. What you see is the last that was known; it goes on by itself.",
	connecting: "Connecting.",
	off: ""
};

const shell = document.getElementById("shell");
const main = h("main", { id: "main", tabindex: "-1" });
let view = null; // the page that is shown

// ---- finding the page -----------------------------------------------------------------------------------------

function match(path) {
	for (const [pattern, module, entry, permission] of ROUTES) {
		const parts = pattern.split("/");
		const params = {};

		if (
			parts.length === path.length &&
			parts.every((p, i) => (p.startsWith(":") ? ((params[p.slice(1)] = path[i]), true) : p === path[i]))
		)
			return { module, entry, permission, params };
	}
	return null;
}

// An entry of the rail is shown to whom its page is open.
const open = ([path]) => api.may(match([path]).permission);

function first() {
	return RAIL.find(open)[0];
}

// ---- a page's life --------------------------------------------------------------------------------------------

// What a page gets: params and query of its address; draw(), refresh(); onEnd(fn); signal ends with the page.
class View {
	constructor(module, params, query, key) {
		this.key = key;
		this.abort = new AbortController();
		Object.assign(this, {
			params,
			query,
			signal: this.abort.signal,
			ends: [],
			error: null,
			loaded: false,
			busy: false,
			again: false,
			wanted: false,
			last: 0,
			drawn: 0
		});
		this.page = module.default(this);
		this.live = live.onEvent(event => this.event(event));
		this.mode = live.onMode(() => this.refresh());
		this.names = onNames(() => this.draw());
		this.timer = setInterval(() => this.tick(), 250);
		this.refresh();
		this.draw();
	}
	onEnd(fn) {
		this.ends.push(fn);
	}

	event(event) {
		if (event.type === "resync" || this.page.wants?.(event)) this.wanted = true;
		this.page.event?.(event);
	}

	// With events: when one says that something changed. Without, or where no event tells: each second. Both: not when hidden.
	tick() {
		const age = Date.now() - this.last;

		if (document.hidden || !this.page.load) return;
		if (this.page.always || live.mode() !== "live" ? age >= 950 : this.wanted ? age >= 400 : age >= 10000)
			this.refresh();
	}

	async refresh() {
		if (!this.page.load || this.signal.aborted) return;
		if (this.busy) {
			this.again = true;
			return;
		}
		this.busy = true;
		this.wanted = false;
		this.last = Date.now();
		try {
			await this.page.load();
			this.error = null;
			this.loaded = true;
		} catch (error) {
			if (error.name !== "AbortError") this.error = error;
		}
		this.busy = false;
		if (this.again) {
			this.again = false;
			this.refresh();
		}
		this.draw();
	}

	draw() {
		if (this.drawn || this.signal.aborted) return;
		this.drawn = requestAnimationFrame(() => {
			this.drawn = 0;
			this.paint();
		});
		// An animation frame never comes while the page is hidden.
		if (document.hidden) this.paint();
	}

	paint() {
		if (this.signal.aborted) return;
		const title = this.page.title();
		const lost = this.error && !(this.loaded && this.error.code === "offline");
		const gone = this.error && !this.loaded;

		document.title = `${title} · Control Panel`;
		patch(
			main,
			h(
				"header.top",
				{ key: "top" },
				h(
					"div.titles",
					this.page.back ? h("a.back", { href: this.page.back[0] }, icon("left"), this.page.back[1]) : null,
					h("h1", title),
					this.page.badge?.() ?? null
				),
				h("div.actions", this.loaded || !this.page.load ? this.page.actions?.() : null)
			),
			lost
				? h(
						"div",
						{ key: "problem" },
						problem(this.error, () => this.refresh())
					)
				: null,
			h(
				"div.page",
				{
					key: "page",
					class: this.page.name,
					"data-at": this.key,
					"aria-busy": this.page.load && !this.loaded && !this.error ? "true" : null
				},
				gone ? null : this.loaded || !this.page.load ? this.page.view() : (this.page.waiting?.() ?? skeleton(8))
			)
		);
		this.page.painted?.();
	}

	end() {
		this.abort.abort();
		this.live();
		this.mode();
		this.names();
		clearInterval(this.timer);
		cancelAnimationFrame(this.drawn);
		for (const fn of this.ends) fn();
	}
}

// ---- the frame ------------------------------------------------------------------------------------------------

function theme() {
	return document.documentElement.dataset.theme ?? "auto";
}

function setTheme(next) {
	if (next === "auto") delete document.documentElement.dataset.theme;
	else document.documentElement.dataset.theme = next;
	try {
		localStorage.setItem("mcp.theme", next);
	} catch {
		// only for this visit, then
	}
	window.dispatchEvent(new Event("theme"));
	frame();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("theme")));

const THEMES = {
	auto: ["auto", "light", "Theme: as the system"],
	light: ["sun", "dark", "Theme: light"],
	dark: ["moon", "auto", "Theme: dark"]
};

function themeButton() {
	const [i, next, text] = THEMES[theme()];

	return h(
		"button.plain",
		{ type: "button", title: text, "aria-label": `${text}. Change it.`, on: { click: () => setTheme(next) } },
		icon(i)
	);
}

function pill() {
	const mode = live.mode();

	return h(
		"span.pill",
		{ class: mode, role: "status", title: MODES[mode] },
		h("i.dot", { "aria-hidden": "true" }),
		mode === "off" ? "" : mode
	);
}

async function more() {
	await dialog("More", close =>
		h(
			"div.body.more",
			RAIL.slice(4)
				.filter(open)
				.map(([path, text, i]) => h("a", { href: "#/" + path, on: { click: () => close() } }, icon(i), text)),
			h(
				"button",
				{
					type: "button",
					on: {
						click: () => {
							setTheme(THEMES[theme()][1]);
						}
					}
				},
				icon(THEMES[theme()][0]),
				"Change the theme"
			),
			h(
				"button",
				{
					type: "button",
					on: {
						click: () => {
							close();
							signOut();
						}
					}
				},
				icon("out"),
				"Sign out"
			)
		)
	);
}

function frame(entry = current) {
	current = entry;
	if (!api.me()) return;
	const who = api.me();
	const items = RAIL.filter(open);
	const link = ([path, text, i]) =>
		h("a", { href: "#/" + path, "aria-current": path === entry ? "page" : null }, icon(i), h("span", text));

	patch(
		shell,
		h(
			"div.frame",
			{ key: "frame" },
			h(
				"nav.rail",
				{ "aria-label": "Pages" },
				h(
					"a.brand",
					{ href: "#/" + first() },
					h("img", { src: "panel.svg", alt: "", width: 24, height: 24 }),
					h("span", "Control Panel")
				),
				h("div.links", items.map(link)),
				h(
					"div.foot",
					h("div.who", h("strong", who.name ?? who.id), h("small", who.role)),
					themeButton(),
					h(
						"button.plain",
						{ type: "button", title: "Sign out", "aria-label": "Sign out", on: { click: signOut } },
						icon("out")
					)
				)
			),
			h("div.state", pill()),
			hold(main),
			h(
				"nav.dock",
				{ "aria-label": "Pages" },
				items.slice(0, 4).map(link),
				h(
					"button",
					{
						type: "button",
						on: { click: more },
						"aria-haspopup": "dialog",
						class: items.slice(4).some(([path]) => path === entry) ? "on" : ""
					},
					icon("more"),
					h("span", "More")
				)
			)
		)
	);
}
let current = "overview";

async function signOut() {
	forget();
	await api.logout().catch(() => {});
}

// ---- going places ---------------------------------------------------------------------------------------------

async function show() {
	const { path, query } = here();

	if (!api.me()) return signIn();
	if (path[0] === "login" || !path.length) {
		location.replace(query.next?.startsWith("#/") ? query.next : "#/" + first());
		return;
	}
	const found = match(path);
	const key = location.hash.split("?")[0];

	// The same page with another query: it takes it up itself.
	if (view && view.key === key && view.page.requery) {
		view.query = query;
		view.page.requery(query);
		return;
	}
	view?.end();
	view = null;
	if (!found || !api.may(found.permission)) {
		frame("");
		patch(
			main,
			h("header.top", h("div.titles", h("h1", found ? "Not for this account" : "No such page"))),
			h(
				"div.page",
				h(
					"p.mute",
					found
						? `It needs the permission ${found.permission}, which ${api.me().name ?? "you"} (${api.me().role}) does not have.`
						: "The address names no page of this panel."
				),
				button("To the start", { href: "#/" + first() })
			)
		);
		return;
	}
	const ticket = (show.ticket = (show.ticket ?? 0) + 1);
	const module = await import(`../pages/${found.module}.js`);

	if (ticket !== show.ticket || !api.me()) return;
	frame(found.entry);
	patch(main);
	view = new View(module, found.params, query, key);
	window.scrollTo(0, 0);
	if (show.moved) main.focus({ preventScroll: true });
	show.moved = true;
}

async function signIn() {
	view?.end();
	view = null;
	const { path } = here();
	const next = path[0] === "login" ? here().query.next : path.length ? location.hash : undefined;

	if (path[0] !== "login") history.replaceState(null, "", address("/login", { next }));
	document.title = "Sign in · Control Panel";
	const { default: login } = await import("../pages/login.js");

	patch(
		shell,
		hold(
			login(() => {
				location.hash = next?.startsWith("#/") ? next : "#/" + first();
			})
		)
	);
}

api.watch((what, how) => {
	if (what === "in" && live.mode() !== "live" && !started) start();
	if (what === "out") {
		started = false;
		live.stop();
		toast(how === "ended" ? "Your session has ended. Sign in to go on where you were." : "You are signed out.");
		signIn();
	}
});
let started = false;

function start() {
	started = true;
	live.start();
	frame();
}

live.onMode(() => frame());
window.addEventListener("hashchange", show);
document.querySelector("a.skip").addEventListener("click", event => {
	event.preventDefault();
	main.focus();
});
// A module that could not be fetched (the server was away for a moment) is asked for again by a click.
window.addEventListener("unhandledrejection", event => {
	if (/import|module/i.test(event.reason?.message ?? ""))
		toast("A part of this page could not be loaded. Try again in a moment.", "bad");
});

await api.resume(() =>
	patch(
		shell,
		h(
			"div.boot",
			{ role: "status" },
			h("p.brand", "The panel does not answer."),
			h("p", "Trying again each second.")
		)
	)
);
show();
