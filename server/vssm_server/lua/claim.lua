-- KEYS jobs; ARGV group, consumer, heartbeat prefix, count, whether a suspect may be taken too.
-- Takes over jobs of workers without a heartbeat: {{entry, request, deliveries before, accepted ms or ''}, ...}.
-- Jobs delivered once are taken freely; one delivered more often may have killed its workers ("suspect"), so these
-- are taken one at a time, to run alone. Silent consumers that hold nothing are removed.
local claimed, suspects = {}, tonumber(ARGV[5])
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending, idle = row[2], row[4], row[6]
  if name ~= ARGV[2] and redis.call('EXISTS', ARGV[3] .. name) == 0 then
    if pending == 0 and idle > 15000 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
    elseif pending > 0 then
      for _, job in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], name)) do
        if job[4] == 1 or suspects > 0 then
          if job[4] > 1 then suspects = suspects - 1 end
          local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, job[1])[1]
          if entry then claimed[#claimed + 1] = {entry[1], entry[2][2], job[4], entry[2][4] or ''} end
        end
      end
    end
  end
end
return claimed
