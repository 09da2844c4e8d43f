#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// A small agent in JavaScript (Node 18 or newer, no packages): node agent.mjs [TASKS]
// Reads MCP_URL and MCP_API_KEY, takes tasks that ask for the capability "shout", answers in capitals.

const base = process.env.MCP_URL.replace(/\/$/, '') + '/api/v1';

async function call(method, path, body, headers) {
	const answer = await fetch(base + path, {
		method,
		headers: { 'Content-Type': 'application/json', ...headers },
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	const json = await answer.json();
	if (!json.success) {
		throw Object.assign(new Error(json.error.message), { status: answer.status, code: json.error.code });
	}
	return json.data;
}

const me = await call('POST', '/agents/register', { name: 'example-javascript', type: 'worker', capabilities: ['shout'] },
	{ 'X-API-Key': process.env.MCP_API_KEY });
const login = await call('POST', '/auth/token', { agent_id: me.agent_id, auth_token: me.auth_token });
const auth = { Authorization: `Bearer ${login.access_token}` };

for (let left = Number(process.argv[2] ?? Infinity); left > 0;) {
	const { tasks } = await call('POST', `/agents/${me.agent_id}/claim?wait=30`, { max: 1 }, auth);
	for (const task of tasks) {
		const result = { text: String(task.parameters.text ?? '').toUpperCase() };
		try {
			await call('POST', `/tasks/${task.task_id}/complete`, { fence: task.fence, result }, auth);
			console.log(`complete ${task.task_id}`);
		} catch (e) {
			if (e.status !== 409) throw e; // 409: the lease was lost, someone else does it
		}
		left--;
	}
}
