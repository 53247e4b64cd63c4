-- Shared by scripts; they are put together by `connect.script`. Keys of an owner:
--   owner       hash: `inside` jobs in the stream, `share` of it, `streams` open, `requests` and `steps` as the times (ms)
--               when they are paid off
--   backlog     list of "ms:request": accepted jobs beyond the owner's share of the stream
--   active      sorted set of owners by the time (ms) when a job of theirs last began or ended
--   ends, bytes what is stored: sorted set of sessions by their end (ms), hash of their sizes with the sum as `total`

local ALONE, ACTIVE_MS = 16, 2000

local function add_job(jobs, owner, at, request)
  redis.call('XADD', jobs, '*', 'job', request, 'at', at, 'owner', owner)
end

local function advance(jobs, owner, backlog, backlogged)
  local waiting = redis.call('LPOP', backlog)
  if not waiting then return false end
  redis.call('DECR', backlogged)
  local colon = string.find(waiting, ':', 1, true)
  add_job(jobs, owner, string.sub(waiting, 1, colon - 1), string.sub(waiting, colon + 1))
  return true
end

-- From the backlog to the stream, up to the share; who is alone may have more, as that keeps nobody waiting.
local function fill(jobs, owner, backlog, backlogged, active, inside)
  local share = tonumber(redis.call('HGET', owner, 'share') or '1')
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', active, '-inf', now - ACTIVE_MS)
  redis.call('ZADD', active, now, owner)
  if redis.call('ZCARD', active) == 1 then share = share * ALONE end
  while inside < share and advance(jobs, owner, backlog, backlogged) do inside = inside + 1 end
  redis.call('HSET', owner, 'inside', inside)
end

-- A job of the owner ended: the next of theirs takes its place.
local function leave(jobs, owner, backlog, backlogged, active, streams)
  if streams then redis.call('HINCRBY', owner, 'streams', -1) end
  local inside = math.max(0, tonumber(redis.call('HGET', owner, 'inside') or '0') - 1)
  fill(jobs, owner, backlog, backlogged, active, inside)
end

local function drop(ends, bytes, session)
  local size = redis.call('HGET', bytes, session)
  if not size then return end
  redis.call('HINCRBY', bytes, 'total', -size)
  redis.call('HDEL', bytes, session)
  redis.call('ZREM', ends, session)
end

-- Both last as long as the last session.
local function lasting(ends, bytes)
  local last = redis.call('ZREVRANGE', ends, 0, 0, 'WITHSCORES')[2]
  if last then
    redis.call('PEXPIREAT', ends, last)
    redis.call('PEXPIREAT', bytes, last)
  else
    redis.call('DEL', bytes)
  end
end

local function forget(ends, bytes, session)
  drop(ends, bytes, session)
  lasting(ends, bytes)
end

local function keep(ends, bytes, session, size, until_ms)
  drop(ends, bytes, session)
  redis.call('ZADD', ends, until_ms, session)
  redis.call('HSET', bytes, session, size)
  redis.call('HINCRBY', bytes, 'total', size)
  lasting(ends, bytes)
end

-- Whether one session more may be stored: nil, or the quota that says no, its limit, and ms until the next session ends.
local function no_room(ends, bytes, size, most_sessions, most_bytes, now)
  for _, session in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)) do
    drop(ends, bytes, session)
  end
  local name, limit
  if most_sessions > 0 and redis.call('ZCARD', ends) + 1 > most_sessions then
    name, limit = 'stored_sessions', most_sessions
  elseif most_bytes > 0 and tonumber(redis.call('HGET', bytes, 'total') or '0') + size > most_bytes then
    name, limit = 'stored_bytes', most_bytes
  else
    return nil
  end
  local first = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')[2]
  return {'quota', name, limit, first and math.max(0, first - now) or 0}
end
