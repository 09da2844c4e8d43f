-- SPDX-License-Identifier: MIT
-- Processes not heard of for that long, taken off the list. KEYS: processes. ARGV: age in ms.
local t = redis.call('TIME')
local before = t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', before), 'WITHSCORES')
for i = 1, #dead, 2 do
	redis.call('ZREM', KEYS[1], dead[i])
end
return dead
