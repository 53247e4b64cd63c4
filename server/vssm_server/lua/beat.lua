-- KEYS heartbeat [, set of workers]; ARGV report, ms it lasts [, worker].
-- The set is ordered by Redis' clock, the only one that all hosts share; who has been silent for a minute leaves it.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if KEYS[2] then
  local now = tonumber(redis.call('TIME')[1])
  redis.call('ZADD', KEYS[2], now, ARGV[3])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - 60)
end
return 1
