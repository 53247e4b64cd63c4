-- KEYS totals, mark of the process; ARGV number of the portion, ms to keep the mark, total, amount, total, amount, ...
-- Adds what a process has counted; a portion that comes again, as its answer was lost, is not added again.
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[1]) then return 0 end
for i = 3, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
