-- Takes requests from an upstream's budget ahead of need, by the engine's clock (GCRA: the time at which it is full).
-- KEYS budget   ARGV rate (requests a second), burst, requests
-- Returns the requests granted, and after how many µs the next one can be had.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local each = 1000000 / tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('HGET', KEYS[1], 't') or 0), now)
-- A clock that was set back must not stop the polls for longer than a whole bucket takes.
full = math.min(full, now + each * tonumber(ARGV[2]))
local granted = math.floor((now + each * tonumber(ARGV[2]) - full) / each + 0.000001)
granted = math.max(0, math.min(granted, tonumber(ARGV[3])))
full = full + granted * each
redis.call('HSET', KEYS[1], 't', string.format('%.0f', full))
-- Until the bucket is full by itself: one that is forgotten sooner would grant its burst again.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(0, full - now) / 1000 + 60000))
local wait = math.max(0, full + each - (now + each * tonumber(ARGV[2])))
return {granted, math.ceil(wait)}
