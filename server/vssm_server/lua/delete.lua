-- KEYS session, totals [, ends, bytes]; ARGV session, total. 1 when there was something to delete.
if KEYS[3] then forget(KEYS[3], KEYS[4], ARGV[1]) end
local deleted = redis.call('DEL', KEYS[1])
if deleted == 1 then redis.call('HINCRBY', KEYS[2], ARGV[2], 1) end
return deleted
