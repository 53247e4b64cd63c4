-- KEYS session, new session, totals, idempotency record ('' for none) [, ends, bytes]
-- ARGV ttl ms, new id, total, head of the session, head of the copy, digest, ms to keep the record
--   [, its bytes, sessions and bytes that may be stored; 0: no limit].
-- Copies the state without its lease: {id of the copy, 'new'}, {'', 'missing'} when there is nothing to copy,
-- {'', 'moved'} when the session has another head by now, {'', 'mismatch'} when the record is of another request,
-- {id, 'again'} with the copy that the record was made for, or {'quota', name, limit, ms to wait}.
if KEYS[4] ~= '' then
  local known = redis.call('HMGET', KEYS[4], 'digest', 'answer')
  if known[1] then
    if known[1] == ARGV[6] then return {known[2], 'again'} end
    return {'', 'mismatch'}
  end
end
local head = redis.call('HGET', KEYS[1], 'head')
if not head then return {'', 'missing'} end
if head ~= ARGV[4] then return {'', 'moved'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if KEYS[5] then
  local refused = no_room(KEYS[5], KEYS[6], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), now)
  if refused then return refused end
  keep(KEYS[5], KEYS[6], ARGV[2], ARGV[8], now + tonumber(ARGV[1]))
end
redis.call('COPY', KEYS[1], KEYS[2])
redis.call('HDEL', KEYS[2], 'lease', 'lease_until')
redis.call('HSET', KEYS[2], 'head', ARGV[5], 'created', now)
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
if KEYS[4] ~= '' then
  redis.call('HSET', KEYS[4], 'digest', ARGV[6], 'plan', '', 'answer', ARGV[2])
  redis.call('PEXPIRE', KEYS[4], ARGV[7])
end
return {ARGV[2], 'new'}
