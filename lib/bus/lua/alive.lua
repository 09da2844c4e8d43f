-- SPDX-License-Identifier: MIT
-- A process' sign of life, by Redis' own clock, which all processes share. KEYS: processes. ARGV: process id.
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
return 1
