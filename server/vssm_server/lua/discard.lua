-- KEYS jobs, set-aside stream, totals, count of backlogs, active
-- ARGV group, entry, request, total, prefix of backlogs, prefix of owners
-- Ends a job that nobody can read, and keeps it for inspection.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'job', ARGV[3])
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[3], ARGV[4], 1)
local owner = entry and entry[2][6]
if owner and string.sub(owner, 1, #ARGV[6]) == ARGV[6] then
  leave(KEYS[1], owner, ARGV[5] .. string.sub(owner, #ARGV[6] + 1), KEYS[4], KEYS[5], false)
end
return 1
