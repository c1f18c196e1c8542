"""What the server does in one step. ``KEYS``: the mark, the value and the lease of a key."""

LEARN = """
local mark = redis.call('GET', KEYS[1])
if not mark then
    mark = ARGV[1]
    redis.call('SET', KEYS[1], mark)
end
return mark
"""
"""Return the mark; make the given one the mark if there is none."""

TAKE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local kept = redis.call('GET', KEYS[2])
if kept and string.sub(kept, 1, #ARGV[1]) == ARGV[1] then return kept end
if redis.call('PTTL', KEYS[3]) == -1 then redis.call('DEL', KEYS[3]) end
if redis.call('SET', KEYS[3], ARGV[2], 'NX', 'PX', ARGV[3]) then return 1 end
return 0
"""
"""Return what is kept, or lease the key (1); 0 if another has leased it, -1 if the mark is another.

What would never end is no lease of ours, and goes.
"""

KEEP = """
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return 0 end
redis.call('DEL', KEYS[3])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""Keep a value and end the lease: if that is the given one (else 0), and the mark too (else -1)."""

RENEW = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[3], ARGV[2])
"""
"""Make a lease last longer, if it is the given one."""

RELEASE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[3])
"""
"""End a lease, if it is the given one. Not ``DELIFEQ``: only Valkey 9 has it."""
