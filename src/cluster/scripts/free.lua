-- Gives a resource up, or its record with it, if the fence is still the one given.
-- KEYS record, items   ARGV fence, 1: the record goes too
-- Returns 1, or 0 if another holds it.
local r = redis.call('HMGET', KEYS[1], 'f', 'o')
if r[1] ~= ARGV[1] then
  return 0
end
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('HSET', KEYS[1], 'o', '')
end
return 1
