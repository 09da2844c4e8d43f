-- SPDX-License-Identifier: MIT
-- One request at the gate: is its token revoked, what is known of its subject, is it within its rate.
-- KEYS: warm, rate window, then revoked and subject as far as given. ARGV: cost, limit.
-- Answers the keys' values; in place of the rate's: the count with this request, or -1 - count when the
-- request is over the limit and was not counted.
local v = redis.call('MGET', unpack(KEYS))
local cost = tonumber(ARGV[1])
local n = tonumber(v[2] or 0)
if n + cost > tonumber(ARGV[2]) then
	v[2] = -1 - n
elseif n == 0 then
	redis.call('SET', KEYS[2], cost, 'EX', 60)
	v[2] = cost
else
	v[2] = redis.call('INCRBY', KEYS[2], cost)
end
return v
