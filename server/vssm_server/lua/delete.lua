-- KEYS session, totals; ARGV total. 1 when there was something to delete.
local deleted = redis.call('DEL', KEYS[1])
if deleted == 1 then redis.call('HINCRBY', KEYS[2], ARGV[1], 1) end
return deleted
