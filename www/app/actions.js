// SPDX-License-Identifier: MIT
// What can be done to tasks, agents and runs, wherever a button for it stands.
import * as api from "./api.js";
import { act, confirm } from "./ui.js";

export const retryTask = t => act(() => api.post(`/tasks/${t.task_id}/retry`), `${t.type} is tried again.`);

export async function cancelTask(t) {
	if (
		await confirm(
			"Cancel this task?",
			`${t.type} ends as cancelled; an agent that works on it is told to stop and its result is not taken.`,
			"Cancel the task"
		)
	)
		return act(() => api.post(`/tasks/${t.task_id}/cancel`), "Cancelled.");
	return undefined;
}

export const drain = a =>
	act(
		() => api.post(`/agents/${a.agent_id}/drain`),
		`${a.name} drains: it finishes what it has and gets nothing new.`
	);
export const undrain = a => act(() => api.post(`/agents/${a.agent_id}/undrain`), `${a.name} takes part again.`);

export async function removeAgent(a) {
	if (
		await confirm(
			"Remove this agent?",
			`${a.name} is signed out for good and its tasks go back to the queue. It has to register again to return.`,
			"Remove the agent"
		)
	)
		return act(() => api.remove("/agents/" + a.agent_id), `${a.name} is removed.`);
	return undefined;
}

export const pauseRun = r =>
	act(() => api.post(`/executions/${r.execution_id}/pause`), "Paused: what runs may finish, nothing new begins.");
export const resumeRun = r => act(() => api.post(`/executions/${r.execution_id}/resume`), "It goes on.");
export const retryRun = r =>
	act(
		() => api.post(`/executions/${r.execution_id}/retry`),
		"It goes on from the failed stage; what succeeded stays."
	);

export async function cancelRun(r) {
	if (
		await confirm(
			"Cancel this run?",
			`The run of ${r.pipeline_name} ends; its tasks are taken from the agents that work on them.`,
			"Cancel the run"
		)
	)
		return act(() => api.post(`/executions/${r.execution_id}/cancel`), "Cancelled.");
	return undefined;
}
