-- KEYS cancel mark, replies; ARGV how long jobs live in ms, failure.
-- After this the job cannot be committed any more. Whether it was before, the reply stream tells: its own reply comes
-- first there, or this failure does.
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
redis.call('XADD', KEYS[2], '*', 'reply', ARGV[2])
redis.call('PEXPIRE', KEYS[2], 60000)
return 1
