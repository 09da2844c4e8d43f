-- SPDX-License-Identifier: MIT
-- Take up to max ids from several lanes, smallest order key first over all of them.
-- KEYS: warm, hash of lanes. ARGV: max, this server's run, prefix of the lanes' keys, lanes…
-- Answers nil when the queue is not known to be complete.
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
	return false
end
local max, prefix, lanes = tonumber(ARGV[1]), ARGV[3], #ARGV - 3
local out = {}

if lanes == 1 then
	local got = redis.call('ZPOPMIN', prefix .. ARGV[4], max)
	for i = 1, #got, 2 do
		out[#out + 1] = got[i]
	end
	if #out < max then
		redis.call('HDEL', KEYS[2], ARGV[4])
	end
	return out
end

-- Each lane is read in chunks; of the lanes' heads the smallest is taken again and again.
local chunk = math.min(max, math.floor(2 * max / lanes) + 1)
local heads = {}

local function refill(lane)
	local got = redis.call('ZRANGE', lane.key, lane.taken, lane.taken + chunk - 1, 'WITHSCORES')
	lane.got, lane.at = got, 1
	lane.score = got[2] and tonumber(got[2])
end

for i = 1, lanes do
	local lane = { key = prefix .. ARGV[i + 3], name = ARGV[i + 3], taken = 0 }
	refill(lane)
	heads[i] = lane
end
while #out < max do
	local best
	for i = 1, lanes do
		local lane = heads[i]
		if lane.score and (not best or lane.score < best.score) then
			best = lane
		end
	end
	if not best then
		break
	end
	out[#out + 1] = best.got[best.at]
	best.taken = best.taken + 1
	best.at = best.at + 2
	if best.got[best.at] then
		best.score = tonumber(best.got[best.at + 1])
	elseif #best.got == 2 * chunk then
		refill(best)
	else
		best.score = nil
	end
end
for i = 1, lanes do
	local lane = heads[i]
	if lane.taken > 0 then
		redis.call('ZREMRANGEBYRANK', lane.key, 0, lane.taken - 1)
	end
	if not lane.score then
		redis.call('HDEL', KEYS[2], lane.name)
	end
end
return out
