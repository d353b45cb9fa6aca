-- Stores what a holder polled and tells it to all that attend, in one step; refused if the fence is not the record's.
-- KEYS record, items   ARGV fence, sequence, record ('' if only the condition changes), condition, items ('' if none),
--                           most entries of items, life (ms), channel
-- Returns 1 and the wants, or 0 and the holder and its fence.
local r = redis.call('HMGET', KEYS[1], 'f', 'c', 's', 'w', 'o')
local stored = tonumber(r[3] or -1)
if r[1] ~= ARGV[1] or (r[2] == ARGV[1] and stored >= tonumber(ARGV[2])) then
  return {0, r[5] or '', r[1] or '0'}
end
local told = ARGV[3]
if told ~= '' then
  redis.call('HSET', KEYS[1], 'c', ARGV[1], 's', ARGV[2], 'k', ARGV[4], 'b', told)
else
  told = ARGV[4]
  redis.call('HSET', KEYS[1], 'c', ARGV[1], 's', ARGV[2], 'k', told)
end
if ARGV[5] ~= '' then
  -- The identifier is the order: the engine itself refuses what is not newer.
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], ARGV[1] .. '-' .. ARGV[2], 'i', ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PUBLISH', ARGV[8], told)
return {1, r[4] or '0'}
