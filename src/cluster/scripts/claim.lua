-- Makes a session the holder of a resource, unless another one is that lives. Content stays what and where it is.
-- KEYS sessions, record   ARGV session, fence and sequence of what it has, session it may take from, floor of the fence,
--                           life (ms)
-- Returns 1 (held), 0 (another's) or -1 (the session has lapsed); holder, fence, order of the content, wants, and what
-- is newer than what it has: the record and its condition.
local r = redis.call('HMGET', KEYS[2], 'o', 'f', 'c', 's', 'w')
local holder, fence = r[1] or '', tonumber(r[2] or 0)
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function lives(session)
  local ends = redis.call('ZSCORE', KEYS[1], session)
  return ends and tonumber(ends) * 1000 > now
end
local state = 1
if not lives(ARGV[1]) then
  state = -1
elseif holder ~= '' and holder ~= ARGV[1] and holder ~= ARGV[4] and lives(holder) then
  state = 0
end
if state == 1 then
  -- Larger than any fence that an engine ever gave, also if this one has lost what it knew.
  fence = math.max(fence + 1, tonumber(ARGV[5]) + 1, now)
  holder = ARGV[1]
  -- Written out: numbers of this size would lose digits.
  redis.call('HSET', KEYS[2], 'o', holder, 'f', string.format('%.0f', fence))
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
local c, s = r[3] or '0', r[4] or '0'
local have_c, have_s = tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {state, holder, string.format('%.0f', fence), c, s, r[5] or '0'}
if tonumber(c) > have_c or (tonumber(c) == have_c and tonumber(s) > have_s) then
  local sealed = redis.call('HMGET', KEYS[2], 'b', 'k')
  answer[7], answer[8] = sealed[1] or '', sealed[2] or ''
end
return answer
