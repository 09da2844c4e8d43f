// SPDX-License-Identifier: MIT
// Clients nobody here wrote (ws, socket.io-client, eventsource), steered by the tests: one JSON object a line comes in on
// standard input as a command, one a line goes out for whatever a client experiences. clients.py is the other end.
"use strict";
const readline = require("node:readline");
const WebSocket = require("ws");
const { io } = require("socket.io-client");
const { EventSource } = require("eventsource");

const clients = new Map();

const say = (id, event, more) => process.stdout.write(JSON.stringify({ id, event, at: Date.now(), ...more }) + "\n");

// Bytes travel as {"$bytes": base64} in both directions.
function pack(v) {
	if (v instanceof ArrayBuffer || ArrayBuffer.isView(v))
		return { $bytes: Buffer.from(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength).toString("base64") };
	if (Array.isArray(v))
		return v.map(pack);
	if (v && typeof v === "object")
		return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, pack(x)]));
	return v;
}

function unpack(v) {
	if (Array.isArray(v))
		return v.map(unpack);
	if (v && typeof v === "object")
		return "$bytes" in v ? Buffer.from(v.$bytes, "base64")
			: Object.fromEntries(Object.entries(v).map(([k, x]) => [k, unpack(x)]));
	return v;
}

function openSocket({ id, url, options }) {
	const ws = new WebSocket(url, options ?? {});
	clients.set(id, ws);
	ws.on("open", () => say(id, "open"));
	ws.on("message", (data, binary) => say(id, "message", binary ? { bytes: data.toString("base64") } : { text: data.toString() }));
	ws.on("ping", () => say(id, "ping"));
	ws.on("close", (code, reason) => say(id, "close", { code, reason: reason.toString() }));
	ws.on("unexpected-response", (request, response) => {
		let body = "";
		response.on("data", (d) => { body += d; });
		response.on("end", () => say(id, "refused", { status: response.statusCode, body }));
		request.on("error", () => {});
	});
	ws.on("error", (e) => say(id, "error", { message: e.message }));
}

function openIo({ id, url, options }) {
	const socket = io(url, { forceNew: true, ...options });
	const acks = new Map();
	let n = 0;
	clients.set(id, { socket, acks });
	socket.io.on("open", () => {
		const engine = socket.io.engine;
		say(id, "opened", { transport: engine.transport.name });
		engine.once("upgrade", (t) => say(id, "upgrade", { transport: t.name }));
	});
	socket.on("connect", () => {
		say(id, "connect", { sid: socket.id, transport: socket.io.engine.transport.name, recovered: socket.recovered });
	});
	socket.on("connect_error", (e) => say(id, "connect_error", { message: e.message, data: pack(e.data ?? null), description: String(e.description ?? "") }));
	socket.on("disconnect", (reason) => say(id, "disconnect", { reason }));
	socket.onAny((name, ...args) => {
		let ack = null;
		if (typeof args.at(-1) === "function")
			acks.set(ack = ++n, args.pop());
		say(id, "event", { name, args: pack(args), ack });
	});
}

function openStream({ id, url, headers, types }) {
	const source = new EventSource(url, {
		fetch: (address, init) => fetch(address, { ...init, headers: { ...init.headers, ...headers } }),
	});
	clients.set(id, source);
	source.onopen = () => say(id, "open");
	source.onerror = (e) => say(id, "error", { code: e.code ?? null, message: e.message ?? "", state: source.readyState });
	for (const type of ["message", ...types])
		source.addEventListener(type, (e) => say(id, "message", { type: e.type, text: e.data, last: e.lastEventId }));
}

const verbs = {
	ws: openSocket,
	"ws.send": (c) => clients.get(c.id).send(c.bytes === undefined ? c.text : Buffer.from(c.bytes, "base64")),
	"ws.pause": (c) => clients.get(c.id).pause(),
	"ws.resume": (c) => clients.get(c.id).resume(),
	"ws.close": (c) => clients.get(c.id).close(c.code),
	"ws.terminate": (c) => clients.get(c.id).terminate(),
	io: openIo,
	"io.emit": (c) => {
		const args = unpack(c.args ?? []);
		if (c.ack)
			args.push((...got) => say(c.id, "ack", { ack: c.ack, args: pack(got) }));
		clients.get(c.id).socket.emit(c.name, ...args);
	},
	"io.reply": (c) => clients.get(c.id).acks.get(c.ack)(...unpack(c.args ?? [])),
	"io.transport": (c) => say(c.id, "transport", { transport: clients.get(c.id).socket.io.engine?.transport.name ?? null }),
	"io.close": (c) => clients.get(c.id).socket.close(),
	sse: openStream,
	"sse.close": (c) => clients.get(c.id).close(),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
	const c = JSON.parse(line);
	try {
		verbs[c.op](c);
	} catch (e) {
		say(c.id, "error", { message: e.message });
	}
}).on("close", () => process.exit(0));
