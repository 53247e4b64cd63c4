-- KEYS session, new session; ARGV ttl ms. Copies the state without its lease: 1, or 0 when there is nothing to copy.
if redis.call('COPY', KEYS[1], KEYS[2]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], 'lease', 'lease_until')
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'created', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
