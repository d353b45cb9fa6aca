-- Renews a session; sessions whose lease has ended are removed first, by the engine's clock.
-- KEYS sessions   ARGV session, lease (ms), join (1: a new session, 0: one that should still be there)
-- Returns whether it lives (0 if it had lapsed), the engine's time (ms), and the sessions that live.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if ARGV[3] == '0' and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return {0, now, redis.call('ZRANGE', KEYS[1], 0, -1)}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
return {1, now, redis.call('ZRANGE', KEYS[1], 0, -1)}
