-- KEYS jobs; ARGV limit, request. The id of the new entry, or false when `limit` requests are unanswered.
-- Answered jobs are deleted from the stream, so its length counts the accepted and unanswered.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return false
end
return redis.call('XADD', KEYS[1], '*', 'job', ARGV[2])
