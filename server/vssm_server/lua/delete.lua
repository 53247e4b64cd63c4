-- KEYS session [, ends, bytes]; ARGV session. Whether there was one to delete.
if KEYS[2] then forget(KEYS[2], KEYS[3], ARGV[1]) end
return redis.call('DEL', KEYS[1])
