// SPDX-License-Identifier: MIT
// What was typed into a form and not sent yet. Kept in memory only, since it may be somebody's health data, and for the
// account that typed it only: another page, the way back or a session that has ended cost no text, a reload does.
import * as api from "./api.js";

const drafts = new Map(); // address -> what its form keeps
let owner = null;

function mine() {
	const id = api.me()?.id ?? null;

	if (id !== owner) {
		drafts.clear();
		owner = id;
	}
	return drafts;
}

export const draft = at => mine().get(at);
export function keep(at, what) {
	// A session that ends leaves no account to keep it for; what it has kept stays until somebody signs in.
	if (api.me()) mine().set(at, what);
}
export const discard = at => drafts.delete(at);
export const forget = () => drafts.clear();
