-- SPDX-License-Identifier: MIT
-- The rebuild is complete. KEYS: warm, mark of the rebuild. ARGV: this server's run, mark ('' for none).
-- Answers 0 when the mark is gone: Redis was emptied, or another rebuild began, while this one ran.
if ARGV[2] ~= '' then
	if redis.call('GET', KEYS[2]) ~= ARGV[2] then
		return 0
	end
	redis.call('DEL', KEYS[2])
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
