// SPDX-License-Identifier: MIT
// How the panel's state reaches the pages. While the relay's socket is open, events say what has changed ("live");
// while it is not, pages ask each second ("polling"); when nothing answers at all, the header says "offline". It goes
// from one to the other by itself, and takes up the events where it lost them (the id of the last one).
import * as api from "./api.js";

const PING_MS = 2000,
	DEAF_MS = 3000,
	BACKOFF = [300, 700, 1500, 3000, 5000];

const state = {
	mode: "connecting",
	socket: null,
	last: null,
	tries: 0,
	asked: 0,
	began: 0,
	answered: true,
	timer: 0,
	pinger: 0,
	on: false
};
const listeners = new Set();
const modes = new Set();

export const mode = () => state.mode;
// fn(event) for each event; { type: "resync" } when some may have been missed.
export const onEvent = fn => (listeners.add(fn), () => listeners.delete(fn));
export const onMode = fn => (modes.add(fn), () => modes.delete(fn));

function settle() {
	const open = state.socket?.ready;
	const next = !state.on
		? "off"
		: !state.answered
			? "offline"
			: open
				? "live"
				: state.tries
					? "polling"
					: "connecting";

	if (next === state.mode) return;
	state.mode = next;
	modes.forEach(fn => fn(next));
}

function emit(event) {
	for (const fn of listeners) fn(event);
}

function heard(socket, message) {
	state.asked = 0;
	if (message.type === "auth.ok") {
		socket.send(
			JSON.stringify({
				type: "subscribe",
				id: "all",
				channel: "all",
				...(state.last ? { after: state.last } : {})
			})
		);
	} else if (message.type === "subscribed") {
		state.last ??= message.last_event_id ?? null;
		state.tries = 0;
		socket.ready = true;
		settle();
		emit({ type: "resync" });
	} else if (message.type === "resync") {
		emit({ type: "resync" });
	} else if (message.type === "redis") {
		// Events stand still while Redis is away; asking works on.
		socket.ready = message.status !== "down";
		settle();
		emit({ type: "resync" });
	} else if (message.type === "error" && message.code) {
		if (message.ref === "all") socket.close();
	} else if (message.id && message.data) {
		state.last = message.id;
		emit(message);
	}
}

function connect() {
	clearTimeout(state.timer);
	if (!state.on || !api.token() || (document.hidden && state.tries > 2)) return later();
	const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");

	state.socket = socket;
	state.began = Date.now();
	state.asked = 0;
	// The token goes in the first message: not in the address, which servers may write down.
	socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token: api.token() }));
	socket.onmessage = ({ data }) => {
		let message;

		try {
			message = JSON.parse(data);
		} catch {
			return;
		}
		heard(socket, message);
	};
	socket.onclose = async ({ code }) => {
		if (state.socket !== socket) return;
		state.socket = null;
		state.tries ||= 1;
		settle();
		if (code === 4408 || code === 4401) await api.renew();
		later();
	};
}

function later() {
	if (!state.on) return;
	clearTimeout(state.timer);
	state.timer = setTimeout(
		connect,
		BACKOFF[Math.min(state.tries++, BACKOFF.length - 1)] * (0.8 + Math.random() * 0.4)
	);
}

// A socket whose other end has gone without a word is found by asking it.
function ping() {
	const socket = state.socket;

	if (!socket || socket.readyState > WebSocket.OPEN) return;
	if (
		(socket.readyState === WebSocket.CONNECTING && Date.now() - state.began > DEAF_MS * 2) ||
		(state.asked && Date.now() - state.asked > DEAF_MS)
	) {
		socket.onclose({ code: 1006 });
		socket.onclose = null;
		socket.close();
		return;
	}
	if (socket.readyState !== WebSocket.OPEN) return;
	state.asked ||= Date.now();
	socket.send('{"type":"ping"}');
}

export function start() {
	state.on = true;
	state.tries = 0;
	state.last = null;
	clearInterval(state.pinger);
	state.pinger = setInterval(ping, PING_MS);
	settle();
	connect();
}

export function stop() {
	const socket = state.socket;

	state.on = false;
	state.socket = null;
	clearTimeout(state.timer);
	clearInterval(state.pinger);
	socket?.close();
	settle();
}

api.watch(what => {
	if (what === "answered" || what === "silent") {
		const back = what === "answered" && !state.answered;

		state.answered = what === "answered";
		settle();
		if (back) {
			emit({ type: "resync" });
			if (!state.socket && state.on) {
				state.tries = 0;
				connect();
			}
		}
	}
});
document.addEventListener("visibilitychange", () => {
	if (!document.hidden && state.on && !state.socket) {
		state.tries = 0;
		connect();
	}
});
