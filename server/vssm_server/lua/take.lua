-- KEYS jobs, workers; ARGV group, consumer, jobs it holds, most jobs it may hold, heartbeat prefix.
-- New jobs up to this worker's fair share of all unanswered ones, so that one worker's full hands leave none idle.
local live = 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  live = live + redis.call('EXISTS', ARGV[5] .. name)
end
local share = math.ceil(redis.call('XLEN', KEYS[1]) / math.max(1, live))
local count = math.min(tonumber(ARGV[4]), share) - tonumber(ARGV[3])
if count < 1 then return {} end
local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[1], '>')
return answer and answer[1][2] or {}
