-- Numbers a want and tells it to all nodes; the number goes in front, since only here it is known.
-- KEYS record   ARGV sealed message, channel, life (ms)
-- Returns the number, written out.
local t = redis.call('TIME')
-- Larger than any number that an engine ever gave, also if this one has lost what it knew.
local want = math.max(tonumber(redis.call('HGET', KEYS[1], 'w') or 0) + 1, t[1] * 1000000 + t[2])
local number = string.format('%.0f', want)
redis.call('HSET', KEYS[1], 'w', number)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[2], number .. ' ' .. ARGV[1])
return number
