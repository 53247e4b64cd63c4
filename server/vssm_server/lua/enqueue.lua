-- KEYS jobs, totals, count of backlogs, idempotency record ('' for none) [, owner, backlog, ends, bytes, active]
-- ARGV limit, request, total, job, digest, plan, ms to keep the record
--   [, share, streams (0/1), steps, session to make ('' for none), its bytes, ms of the deadline,
--      requests and steps a minute, requests and streams at once, sessions and bytes stored; 0: no limit]
-- 'accepted', 'full' when `limit` requests are unanswered, or 'known' when there is a record for the key already.
-- Answered jobs are deleted from the stream, so its length and the backlogs count the accepted and unanswered.
-- Of an owner: {'accepted', requests left, ms until all are again, steps left, ms}, or {'quota', name, limit, ms to wait};
-- what is beyond their share of the stream goes to their backlog, from which `leave` takes it.
if KEYS[4] ~= '' and redis.call('EXISTS', KEYS[4]) == 1 then return 'known' end
if redis.call('XLEN', KEYS[1]) + tonumber(redis.call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then return 'full' end
local owner, answer = KEYS[5], 'accepted'
if not owner then
  redis.call('XADD', KEYS[1], '*', 'job', ARGV[2])
else
  local backlog, ends, bytes = KEYS[6], KEYS[7], KEYS[8]
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local share, streams, session, size = tonumber(ARGV[8]), ARGV[9] == '1', ARGV[11], tonumber(ARGV[12])
  local known = redis.call('HMGET', owner, 'inside', 'streams', 'requests', 'steps')
  local inside, waiting = tonumber(known[1] or '0'), redis.call('LLEN', backlog)
  local paid = {}
  for i, name in ipairs({'requests', 'steps'}) do
    local limit, amount = tonumber(ARGV[13 + i]), i == 1 and 1 or tonumber(ARGV[10])
    if limit > 0 then -- a minute's worth may come at once; it is paid off evenly
      local due = math.max(tonumber(known[2 + i] or '0'), now) + amount * 60000 / limit
      if due - now > 60000 then return {'quota', name .. '_per_minute', limit, math.ceil(due - now - 60000)} end
      paid[i] = {due, math.floor((60000 - due + now) * limit / 60000), math.ceil(due - now)}
    end
  end
  local most_requests, most_streams = tonumber(ARGV[16]), tonumber(ARGV[17])
  if most_requests > 0 and inside + waiting >= most_requests then return {'quota', 'concurrent_requests', most_requests, 1000} end
  if streams and most_streams > 0 and tonumber(known[2] or '0') >= most_streams then
    return {'quota', 'open_streams', most_streams, 1000}
  end
  if session ~= '' then
    local refused = no_room(ends, bytes, size, tonumber(ARGV[18]), tonumber(ARGV[19]), now)
    if refused then return refused end
    keep(ends, bytes, session, size, now + tonumber(ARGV[13]))
  end
  if paid[1] then redis.call('HSET', owner, 'requests', paid[1][1]) end
  if paid[2] then redis.call('HSET', owner, 'steps', paid[2][1]) end
  if streams then redis.call('HINCRBY', owner, 'streams', 1) end
  redis.call('RPUSH', backlog, now .. ':' .. ARGV[2])
  redis.call('INCR', KEYS[3])
  redis.call('HSET', owner, 'share', share)
  fill(KEYS[1], owner, backlog, KEYS[3], KEYS[9], inside)
  local lasting = tonumber(ARGV[13]) + 600000
  for _, key in ipairs({owner, backlog, KEYS[3], KEYS[9]}) do
    if redis.call('PTTL', key) < lasting then redis.call('PEXPIRE', key, lasting) end
  end
  local none = {0, -1, 0}
  answer = {'accepted', (paid[1] or none)[2], (paid[1] or none)[3], (paid[2] or none)[2], (paid[2] or none)[3]}
end
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
if KEYS[4] ~= '' then
  redis.call('HSET', KEYS[4], 'job', ARGV[4], 'digest', ARGV[5], 'plan', ARGV[6])
  redis.call('PEXPIRE', KEYS[4], ARGV[7])
end
return answer
