-- KEYS session; ARGV job, lease ms (0: none). {head, version, state}, or 'missing', or 'leased' to another job.
-- A streaming job leases the session before its first chunk, so that nobody advances it under the chunks sent.
local found = redis.call('HMGET', KEYS[1], 'head', 'version', 'state', 'lease', 'lease_until')
if not found[1] then return 'missing' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if found[4] and found[4] ~= ARGV[1] and tonumber(found[5]) > now then return 'leased' end
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1], 'lease_until', now + tonumber(ARGV[2]))
end
return {found[1], found[2], found[3]}
