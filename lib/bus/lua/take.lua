-- SPDX-License-Identifier: MIT
-- Take up to max ids from several lanes, smallest order key first over all of them.
-- KEYS: warm, hash of lanes. ARGV: max, this server's run, prefix of the lanes' keys, lanes…
-- Answers nil when the queue is not known to be complete.
local call = redis.call
if call('GET', KEYS[1]) ~= ARGV[2] then
	return false
end
local max, prefix, last = tonumber(ARGV[1]), ARGV[3], #ARGV
local out = {}

if last == 4 then
	local got = call('ZPOPMIN', prefix .. ARGV[4], max)
	for i = 1, #got, 2 do
		out[#out + 1] = got[i]
	end
	if #out < max then
		call('HDEL', KEYS[2], ARGV[4])
	end
	return out
end

-- Each lane is read in chunks; of the lanes' heads the smallest is taken again and again. Plain arrays by the
-- lane's place in ARGV: a table a lane would cost more than all the commands.
local chunk = math.min(max, math.floor(2 * max / (last - 3)) + 1)
local got, at, score, taken = {}, {}, {}, {}

for i = 4, last do
	local list = call('ZRANGE', prefix .. ARGV[i], 0, chunk - 1, 'WITHSCORES')
	got[i], at[i], taken[i] = list, 1, 0
	if list[2] then
		score[i] = tonumber(list[2])
	else
		score[i] = false
		call('HDEL', KEYS[2], ARGV[i])
	end
end
for n = 1, max do
	local best, least
	for i = 4, last do
		local s = score[i]
		if s and (not best or s < least) then
			best, least = i, s
		end
	end
	if not best then
		break
	end
	local list, p = got[best], at[best]
	out[n] = list[p]
	taken[best] = taken[best] + 1
	p = p + 2
	if not list[p] and #list == 2 * chunk and n < max then
		list = call('ZRANGE', prefix .. ARGV[best], taken[best], taken[best] + chunk - 1, 'WITHSCORES')
		got[best], p = list, 1
	end
	at[best] = p
	score[best] = list[p + 1] and tonumber(list[p + 1]) or false
end
for i = 4, last do
	if taken[i] > 0 then
		call('ZREMRANGEBYRANK', prefix .. ARGV[i], 0, taken[i] - 1)
	end
end
return out
