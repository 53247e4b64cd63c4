-- KEYS jobs, replies, cancel mark, set-aside stream, session, idempotency record ('' for none), totals
--      [, owner, backlog, count of backlogs, ends, bytes, active]
-- ARGV group, consumer, entry, reply ('' for none), job, set aside (0/1),
--      deadline ms (0: the reply is no success), expected version ('' to only release, '0' for a new session), head, state, ttl ms,
--      answer to remember ('' forgets the idempotency record: nothing was done, a retry may run),
--      streams (0/1), session that the job was to make ('' for none), session that it saves ('' for none), totals that grow by 1 ...
-- Commits the session, replies, and ends the job, all or nothing:
-- 'done', or what stopped it: 'gone' (not ours any more), 'late', 'cancelled', 'missing', 'stale' (version moved), 'leased'.
local owner = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not owner or owner[2] ~= ARGV[2] then return 'gone' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(ARGV[7]) > 0 then
  if now > tonumber(ARGV[7]) then return 'late' end
  if redis.call('EXISTS', KEYS[3]) == 1 then return 'cancelled' end
end
local session = KEYS[5]
if session ~= '' then
  local found = redis.call('HMGET', session, 'version', 'lease', 'lease_until')
  local mine = found[2] == ARGV[5]
  if ARGV[8] ~= '' then
    if ARGV[8] ~= '0' and not found[1] then return 'missing' end
    if (found[1] or '0') ~= ARGV[8] then return 'stale' end
    if found[2] and not mine and tonumber(found[3]) > now then return 'leased' end
    redis.call('HSET', session, 'head', ARGV[9], 'state', ARGV[10], 'version', ARGV[8] + 1)
    redis.call('HSETNX', session, 'created', now)
    redis.call('PEXPIRE', session, ARGV[11])
    if KEYS[8] then keep(KEYS[11], KEYS[12], ARGV[15], #ARGV[10], now + tonumber(ARGV[11])) end
  end
  if mine then redis.call('HDEL', session, 'lease', 'lease_until') end
end
if KEYS[6] ~= '' and redis.call('HGET', KEYS[6], 'job') == ARGV[5] then
  if ARGV[12] ~= '' then redis.call('HSET', KEYS[6], 'answer', ARGV[12]) else redis.call('DEL', KEYS[6]) end
end
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[2], '*', 'reply', ARGV[4])
  redis.call('PEXPIRE', KEYS[2], 60000)
end
if ARGV[6] == '1' then
  local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
  if entry then redis.call('XADD', KEYS[4], 'MAXLEN', '~', 1000, '*', 'job', entry[2][2]) end
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[3])
for i = 16, #ARGV do redis.call('HINCRBY', KEYS[7], ARGV[i], 1) end
if KEYS[8] then
  if ARGV[14] ~= '' and ARGV[8] == '' then forget(KEYS[11], KEYS[12], ARGV[14]) end
  leave(KEYS[1], KEYS[8], KEYS[9], KEYS[10], KEYS[13], ARGV[13] == '1')
end
return 'done'
