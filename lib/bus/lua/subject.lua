-- SPDX-License-Identifier: MIT
-- What is known of a subject; late and repeated news never takes it back. KEYS: subject. ARGV: cutoff, rev.
local cutoff, rev = tonumber(ARGV[1]), tonumber(ARGV[2])
local old = redis.call('GET', KEYS[1])
if old then
	local c, r = string.match(old, '^(%-?%d+) (%-?%d+)$')
	cutoff = math.max(cutoff, tonumber(c or 0))
	rev = math.max(rev, tonumber(r or 0))
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', cutoff, rev))
return 1
