-- KEYS jobs; ARGV group, consumer, entries it knows of ... What else it holds: {{entry, request, deliveries, accepted ms or ''}, ...}.
-- That is everything after a restart of the connection; and later what a command took that Redis ran after its answer
-- was no longer awaited: nobody else would ever take that over. Reading it again by XREADGROUP would count as a delivery.
local known, held = {}, {}
for i = 3, #ARGV do known[ARGV[i]] = true end
for _, job in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000, ARGV[2])) do
  local entry = not known[job[1]] and redis.call('XRANGE', KEYS[1], job[1], job[1])[1]
  if entry then held[#held + 1] = {entry[1], entry[2][2], job[4], entry[2][4] or ''} end
end
return held
