// SPDX-License-Identifier: MIT
// What one would write in an afternoon: a relay in Node with the ws package that passes on what Redis publishes. No
// authentication, no filters, no limits: `make bench-ws` runs it beside mcp-relay for comparison.
//   node ws-node.js REDIS-SOCKET      prints its port once it listens to both sides
"use strict";
const net = require("node:net");
const { WebSocketServer, WebSocket } = require("ws");

const relay = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 4096 });
const redis = net.connect(process.argv[2]);
let rest = Buffer.alloc(0);

// ["message", channel, text] as Redis sends it: *3, then three times $length and that many bytes.
function reply(buffer) {
	const words = [];
	let at = buffer.indexOf("\r\n") + 2;
	if (at < 2)
		return null;
	for (let i = 0; i < 3; i++) {
		const end = buffer.indexOf("\r\n", at);
		if (end < 0)
			return null;
		if (buffer[at] === 58) {                       // ":1" ends the answer to SUBSCRIBE
			words.push("");
			at = end + 2;
			continue;
		}
		const n = Number(buffer.toString("latin1", at + 1, end));
		if (buffer.length < end + 4 + n)
			return null;
		words.push(buffer.toString("utf8", end + 2, end + 2 + n));
		at = end + 4 + n;
	}
	return { words, used: at };
}

redis.on("data", (data) => {
	rest = rest.length ? Buffer.concat([rest, data]) : data;
	for (let got; (got = reply(rest)); rest = rest.subarray(got.used)) {
		if (got.words[0] === "subscribe")
			console.log(relay.address().port);
		if (got.words[0] !== "message")
			continue;
		for (const client of relay.clients)
			if (client.readyState === WebSocket.OPEN)
				client.send(got.words[2]);
	}
});
relay.on("listening", () => redis.write("SUBSCRIBE {mcp}:events\r\n"));
process.on("SIGTERM", () => process.exit(0));
