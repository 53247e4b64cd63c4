-- KEYS session, new session, totals [, idempotency record]; ARGV ttl ms, new id, total, digest, ms to keep the record.
-- Copies the state without its lease: {id of the copy, 'new'}, {'', 'missing'} when there is nothing to copy,
-- {'', 'mismatch'} when the record is of another request, {id, 'again'} with the copy that the record was made for.
if KEYS[4] then
  local known = redis.call('HMGET', KEYS[4], 'digest', 'answer')
  if known[1] then
    if known[1] == ARGV[4] then return {known[2], 'again'} end
    return {'', 'mismatch'}
  end
end
if redis.call('COPY', KEYS[1], KEYS[2]) == 0 then return {'', 'missing'} end
redis.call('HDEL', KEYS[2], 'lease', 'lease_until')
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'created', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
if KEYS[4] then
  redis.call('HSET', KEYS[4], 'digest', ARGV[4], 'plan', '', 'answer', ARGV[2])
  redis.call('PEXPIRE', KEYS[4], ARGV[5])
end
return {ARGV[2], 'new'}
