-- One step on a scope's retry budget: the arithmetic of retry/budget.rs once more, inside the server.
--
-- KEYS[1] is the budget: what is left, and when it lends again in microseconds. ARGV[1] is words: what to do, what that costs, what calls have
-- earned since, and the time in microseconds ("-" for the server's own). purses.rs puts the constants in front: CAPACITY, TRICKLE (microseconds), KEPT
-- (milliseconds).

local words = string.gmatch(ARGV[1], '%S+')
local step, cost, earned, at = words(), tonumber(words()), tonumber(words()), words()
if at == '-' then
    local time = redis.call('TIME')
    at = time[1] * 1000000 + time[2]
else
    at = tonumber(at)
end

local balance, lends_at = CAPACITY, 0
local found = redis.call('GET', KEYS[1])
if found then
    local kept, lends = string.match(found, '(%d+) (%d+)')
    balance, lends_at = tonumber(kept), tonumber(lends)
end

balance = math.min(balance + earned, CAPACITY)

local said = '1'
if step == 'balance' then
    said = string.format('%.0f', balance)
elseif balance >= cost then
    balance = balance - cost
elseif at >= lends_at then
    balance, lends_at = 0, at + TRICKLE
else
    said = '0'
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', balance, lends_at), 'PX', string.format('%.0f', KEPT))
return said
