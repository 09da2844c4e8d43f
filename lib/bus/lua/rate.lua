-- SPDX-License-Identifier: MIT
-- A request that counts more than one, at the gate. KEYS: rate window. ARGV: cost, limit.
-- Answers the count with this request, or -1 - count when it would be over the limit and was not counted.
local n = tonumber(redis.call('GET', KEYS[1]) or 0)
local cost = tonumber(ARGV[1])
if n + cost > tonumber(ARGV[2]) then
	return -1 - n
elseif n == 0 then
	redis.call('SET', KEYS[1], cost, 'EX', 60)
	return cost
end
return redis.call('INCRBY', KEYS[1], cost)
