-- KEYS jobs; ARGV group, consumer. What the consumer has taken and not ended: {{entry, request, deliveries}, ...}.
-- Reading it again by XREADGROUP would count as a delivery: after three troubles with Redis a job would look deadly.
local held = {}
for _, job in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000, ARGV[2])) do
  local entry = redis.call('XRANGE', KEYS[1], job[1], job[1])[1]
  if entry then held[#held + 1] = {entry[1], entry[2][2], job[4]} end
end
return held
