-- SPDX-License-Identifier: MIT
-- A batch of posts: queue changes, wakes, events, in that order, all or nothing.
-- KEYS: number of the last batch this process sent, event stream (also the channel's name).
-- ARGV: batch number; '1' when it was sent before and the answer got lost; cap of the stream;
-- then records: a count and that many words of a command, or 'E' and an event from behind its id.
if ARGV[2] == '1' and redis.call('GET', KEYS[1]) == ARGV[1] then
	return 0
end
local i, n = 4, #ARGV
while i <= n do
	local what = ARGV[i]
	if what == 'E' then
		local rest = ARGV[i + 1]
		local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'e', rest)
		redis.call('PUBLISH', KEYS[2], '{"id":"' .. id .. rest)
		i = i + 2
	else
		local words = tonumber(what)
		redis.call(unpack(ARGV, i + 1, i + words))
		i = i + words + 1
	end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', 3600)
return 1
