-- SPDX-License-Identifier: MIT
-- Empty the queue before it is rebuilt. From here on it is not warm, until warm.lua finds this rebuild's mark.
-- KEYS: warm, mark of the rebuild, hash of lanes, running, active agents. ARGV: mark, prefix of the lanes' keys,
-- prefix of the agents' assigned sets.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
for _, lane in ipairs(redis.call('HKEYS', KEYS[3])) do
	redis.call('UNLINK', ARGV[2] .. lane)
end
for _, agent in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
	redis.call('UNLINK', ARGV[3] .. agent)
end
redis.call('UNLINK', KEYS[3], KEYS[4])
return 1
