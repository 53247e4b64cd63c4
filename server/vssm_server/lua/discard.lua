-- KEYS jobs, set-aside stream, totals; ARGV group, entry, request, total. Ends a job that nobody can read, and keeps it for inspection.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'job', ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[3], ARGV[4], 1)
return 1
