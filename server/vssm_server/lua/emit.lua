-- KEYS jobs, replies, cancel mark, API heartbeat [, leased session]; ARGV group, consumer, entry, reply, job, lease ms.
-- Sends a chunk if the job is still ours and wanted: 'sent', 'gone', 'cancelled', 'orphan', 'missing' or 'stale'.
local owner = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not owner or owner[2] ~= ARGV[2] then return 'gone' end
if redis.call('EXISTS', KEYS[3]) == 1 then return 'cancelled' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'orphan' end
if KEYS[5] then
  if redis.call('EXISTS', KEYS[5]) == 0 then return 'missing' end
  if redis.call('HGET', KEYS[5], 'lease') ~= ARGV[5] then return 'stale' end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[5], 'lease_until', now + tonumber(ARGV[6]))
end
redis.call('XADD', KEYS[2], '*', 'reply', ARGV[4])
redis.call('PEXPIRE', KEYS[2], 60000)
return 'sent'
