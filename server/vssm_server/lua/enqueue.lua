-- KEYS jobs, totals [, idempotency record]; ARGV limit, request, total [, job, digest, plan, ms to keep the record].
-- 'accepted', 'full' when `limit` requests are unanswered, or 'known' when there is a record for the key already.
-- Answered jobs are deleted from the stream, so its length counts the accepted and unanswered.
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return 'known' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
redis.call('XADD', KEYS[1], '*', 'job', ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
if KEYS[3] then
  redis.call('HSET', KEYS[3], 'job', ARGV[4], 'digest', ARGV[5], 'plan', ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[7])
end
return 'accepted'
