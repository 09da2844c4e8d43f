#!/bin/sh
# SPDX-License-Identifier: MIT
# Submit a task with curl and wait for its end: task.sh TEXT
# Reads MCP_URL and MCP_API_KEY. Needs curl and an agent with the capability "shout".
set -eu

api() {
	method=$1 path=$2
	shift 2
	curl -sS --fail-with-body -X "$method" "$MCP_URL/api/v1$path" \
		-H "X-API-Key: $MCP_API_KEY" -H 'Content-Type: application/json' "$@"
}
field() {
	sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# An Idempotency-Key makes it safe to repeat the call when the answer gets lost.
id=$(api POST /tasks -H "Idempotency-Key: example-$$-$(date +%s)" \
	-d "{\"type\":\"shout\",\"requirements\":{\"capabilities\":[\"shout\"]},\"parameters\":{\"text\":\"$1\"}}" |
	sed 's/.*"data":{"task_id":"\([^"]*\)".*/\1/')
echo "task $id" >&2
for _ in $(seq 300); do
	status=$(api GET "/tasks/$id/status" | field status)
	case $status in
	completed) api GET "/tasks/$id" | sed 's/.*"result":\({[^}]*}\).*/\1/'; exit 0 ;;
	failed | cancelled) echo "task $status" >&2; exit 1 ;;
	esac
	sleep 0.1
done
echo "still $status" >&2
exit 1
