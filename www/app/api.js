// SPDX-License-Identifier: MIT
// The REST API. The access token lives in this module's memory and nowhere else; the refresh token lies in an HttpOnly
// cookie that no script can read, so a reload asks for a new access token and a stranger's script finds nothing.

export class ApiError extends Error {
	constructor(status, error, requestId) {
		super(error?.message || `The server answered ${status}.`);
		this.status = status;
		this.code = error?.code ?? `http_${status}`;
		this.type = error?.type;
		this.details = error?.details;
		this.requestId = error?.request_id ?? requestId;
	}
	get fields() {
		return Array.isArray(this.details) ? this.details.filter(d => d?.field) : [];
	}
}

// Nothing answered: the machine, the network or the web server is away.
export class Offline extends Error {
	constructor() {
		super("The panel does not answer.");
		this.code = "offline";
	}
}

const session = { token: null, refresh: null, me: null, expires: 0, renewing: null, timer: 0 };
const watchers = new Set();

export const me = () => session.me;
export const token = () => session.token;
export const may = permission => !permission || Boolean(session.me?.permissions?.includes(permission));
// Told whenever somebody logged in or out, and with each answer or silence: "in", "out", "answered", "silent".
export const watch = fn => (watchers.add(fn), () => watchers.delete(fn));
const tell = (what, detail) => watchers.forEach(fn => fn(what, detail));

async function exchange(method, path, { body, query, signal, headers = {}, plain } = {}) {
	const url = new URL(path.startsWith("/api/") || plain ? path : "/api/v1" + path, location.origin);
	let answer;

	for (const [name, value] of Object.entries(query ?? {}))
		if (value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length))
			url.searchParams.set(name, Array.isArray(value) ? value.join(",") : value);
	if (body !== undefined) headers["Content-Type"] = "application/json";
	if (session.token) headers.Authorization = "Bearer " + session.token;
	try {
		answer = await fetch(url, {
			method,
			headers,
			signal,
			cache: "no-store",
			credentials: "same-origin",
			body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body)
		});
	} catch (error) {
		if (error.name === "AbortError") throw error;
		tell("silent");
		throw new Offline();
	}
	return answer;
}

async function read(answer, plain) {
	const text = await answer.text();
	let json = null;

	try {
		json = JSON.parse(text);
	} catch {
		// not JSON: an answer of the web server's own, or what was asked for
	}
	// The web server is there, what is behind it is not.
	if (answer.status >= 500 && (!json || json.error?.details?.answered_by)) {
		tell("silent");
		throw new Offline();
	}
	tell("answered");
	if (!answer.ok || (json && json.success === false))
		throw new ApiError(answer.status, json?.error, answer.headers.get("X-Request-ID"));
	return plain ? (json ?? text) : json;
}

export async function request(method, path, options = {}) {
	let answer = await exchange(method, path, { ...options });

	if (answer.status === 401 && session.token) {
		if (!(await renew())) {
			if (session.away) throw new Offline();
			throw new ApiError(401, {
				code: "session_ended",
				message: "Your session has ended. Please sign in again."
			});
		}
		answer = await exchange(method, path, { ...options });
	}
	return read(answer, options.plain);
}

export const get = async (path, query, signal) => (await request("GET", path, { query, signal })).data;
export const page = (path, query, signal) => request("GET", path, { query, signal });
export const text = async path => request("GET", path, { plain: true });
// An answer as a file: a link could not carry the token.
export async function download(path, query, name) {
	const answer = await exchange("GET", path, { query });

	if (!answer.ok) await read(answer);
	const link = document.createElement("a");

	link.href = URL.createObjectURL(await answer.blob());
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
// Creating and starting are repeated safely under the same key, should the answer get lost.
export const post = async (path, body = {}) =>
	(await request("POST", path, { body, headers: { "Idempotency-Key": key() } })).data;
export const put = async (path, body) => (await request("PUT", path, { body })).data;
export const remove = async path => (await request("DELETE", path)).data;

function key() {
	const bytes = crypto.getRandomValues(new Uint8Array(16));

	return Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("");
}

// ---- the session --------------------------------------------------------------------------------------------

const HINT = "mcp.session"; // that a cookie may be there; nothing secret

function hint(on) {
	try {
		if (on) localStorage.setItem(HINT, "1");
		else localStorage.removeItem(HINT);
	} catch {
		// storage is blocked: a reload asks for the password again
	}
}

function hinted() {
	try {
		return localStorage.getItem(HINT) === "1";
	} catch {
		return true;
	}
}

async function enter(data) {
	session.token = data.access_token;
	session.refresh = data.refresh_token ?? null; // null where the cookie holds it
	session.expires = Date.now() + data.expires_in * 1000;
	clearTimeout(session.timer);
	// In good time, and never further ahead than a timer can count.
	session.timer = setTimeout(() => renew(), Math.min(Math.max(data.expires_in * 800, 10000), 2 ** 31 - 1));
	session.me = await get("/auth/me");
	hint(true);
	tell("in");
}

function leave(how = "asked") {
	const was = session.token;

	clearTimeout(session.timer);
	Object.assign(session, { token: null, refresh: null, me: null });
	hint(false);
	if (was) tell("out", how);
}

export async function login(username, password, totp) {
	session.token = null;
	const answer = await exchange("POST", "/auth/login", {
		headers: { "X-Session": "cookie" },
		body: { username, password, ...(totp ? { totp } : {}) }
	});

	await enter((await read(answer)).data);
}

// A new access token by the cookie (or, where the server gave us one, by the refresh token in memory).
export function renew() {
	session.renewing ??= (async () => {
		try {
			const answer = await exchange("POST", "/auth/refresh", {
				headers: { "X-Session": "cookie" },
				body: session.refresh ? { refresh_token: session.refresh } : {}
			});

			session.away = answer.status >= 500;
			if (session.away) return false;
			await enter((await read(answer)).data);
			return true;
		} catch (error) {
			session.away = !(error instanceof ApiError && error.status < 500);
			if (!session.away) leave("ended");
			return false;
		} finally {
			session.renewing = null;
		}
	})();
	return session.renewing;
}

// At the start: is there a session to take up again? While the panel is away nobody is asked for a password.
export async function resume(waits) {
	while (hinted()) {
		if (await renew()) return true;
		if (!session.away) return false;
		waits();
		await new Promise(done => setTimeout(done, 1000));
	}
	return false;
}

export async function logout() {
	try {
		await request("POST", "/auth/logout", { body: session.refresh ? { refresh_token: session.refresh } : {} });
	} finally {
		leave();
	}
}
