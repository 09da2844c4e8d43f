// SPDX-License-Identifier: MIT
// Agents by their names. Tasks, events and alerts carry an agent's id; who reads them knows the name. The fleet is asked
// for its names when an id comes into sight that is not known yet, and the page is told when they are there.
import * as api from "./api.js";
import { h } from "./dom.js";
import { short } from "./format.js";

const PAGE = 500,
	MOST = 4000,
	PAUSE_MS = 3000;
let names = new Map(); // id -> name; "" for an id that is none of the fleet's
const wanted = new Set();
const listeners = new Set();
let timer = 0,
	asked = 0;

// fn() whenever names have come in.
export const onNames = fn => (listeners.add(fn), () => listeners.delete(fn));

// What another account may read is not left behind for the next.
api.watch(what => {
	if (what !== "out") return;
	names = new Map();
	wanted.clear();
});

async function ask() {
	const ids = [...wanted];

	try {
		for (let cursor, n = 0; n < MOST; n += PAGE) {
			const answer = await api.page("/agents", { limit: PAGE, cursor });

			for (const a of answer.data) names.set(a.agent_id, a.name);
			if (!(cursor = answer.next_cursor)) break;
		}
		for (const id of ids) {
			wanted.delete(id);
			if (!names.has(id)) names.set(id, ""); // removed meanwhile: the id has to do
		}
		for (const fn of listeners) fn();
	} catch {
		// The panel is away: the next look asks again.
		wanted.clear();
	}
	asked = Date.now();
	timer = 0;
	if (wanted.size) soon();
}

function soon() {
	timer ||= setTimeout(ask, Math.max(0, asked + PAUSE_MS - Date.now()));
}

// "": not known (yet).
export function nameOf(id) {
	if (!id || !api.may("agent:read")) return "";
	if (!names.has(id) && !wanted.has(id)) {
		wanted.add(id);
		soon();
	}
	return names.get(id) ?? "";
}

export const agentLink = id =>
	id
		? h(nameOf(id) ? "a" : "a.id", { href: "#/agents/" + id, title: id }, nameOf(id) || short(id))
		: h("span.mute", "–");
