-- KEYS jobs; ARGV group. Makes the group unless it is there; may run when Redis has no memory left.
local answer = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(answer) == 'table' and answer.err and not string.find(answer.err, 'BUSYGROUP') then return answer end
return 1
