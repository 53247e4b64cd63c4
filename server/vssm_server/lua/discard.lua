-- KEYS jobs, set-aside stream, count of backlogs, active; ARGV group, entry, request, prefix of backlogs, prefix of owners.
-- Ends a job that nobody can read, and keeps it for inspection.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'job', ARGV[3])
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
local owner = entry and entry[2][6]
if owner and string.sub(owner, 1, #ARGV[5]) == ARGV[5] then
  leave(KEYS[1], owner, ARGV[4] .. string.sub(owner, #ARGV[5] + 1), KEYS[3], KEYS[4], false)
end
return 1
