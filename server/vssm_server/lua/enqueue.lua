-- KEYS jobs [, idempotency record]; ARGV limit, request [, job, digest, plan, ms to keep the record].
-- 'accepted', 'full' when `limit` requests are unanswered, or 'known' when there is a record for the key already.
-- Answered jobs are deleted from the stream, so its length counts the accepted and unanswered.
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 'known' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
redis.call('XADD', KEYS[1], '*', 'job', ARGV[2])
if KEYS[2] then
  redis.call('HSET', KEYS[2], 'job', ARGV[3], 'digest', ARGV[4], 'plan', ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
return 'accepted'
