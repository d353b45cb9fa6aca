-- Numbers a message and tells it to all nodes; the number goes in front, since only here it is known.
-- KEYS sessions (so that it runs where the others do)   ARGV sealed message, channel
-- Returns the number, written out: it is of the same clock as the numbers of wants.
local t = redis.call('TIME')
local number = string.format('%.0f', t[1] * 1000000 + t[2])
redis.call('PUBLISH', ARGV[2], number .. ' ' .. ARGV[1])
return number
