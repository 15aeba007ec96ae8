-- A batch of steps on the scopes of one tree, all at one moment. Scopes are written once, when all steps are done, so an error leaves
-- everything as it was.

-- Other steps ---------------------------------------------------------------------------------------------

-- What the process holds no more, since others have taken it back, is not given back again.
local function give_back(scope, op, reserved)
    local hot, mine = scope.hot, scope.mine
    if not mine then
        return
    end
    mine[THERE_UNTIL] = now + presence
    if mine[HOLDS] == 0 then
        return
    end
    mine[HOLDS], hot[HELD] = mine[HOLDS] - 1, max(hot[HELD] - 1, 0)
    for dimension = 1, 4 do
        local booked = min(mine[HELD_AMOUNTS + dimension], op[reserved + dimension])
        mine[HELD_AMOUNTS + dimension] = mine[HELD_AMOUNTS + dimension] - booked
        flow_more(hot[FLOW], ENDED, dimension, booked)
    end
end

local function settle(scope, op)
    local reserved, kept = 3, 7
    scope.changed, scope.gave = true, true
    give_back(scope, op, reserved)
    for _, meter in ipairs(scope.hot[METERS]) do
        local more = op[kept + meter[DIMENSION]] - op[reserved + meter[DIMENSION]]
        if more > 0 then
            charge(meter, more)
        elseif more < 0 then
            refund(meter, -more, op[3])
        end
    end
end

local function succeeded(hot, sent_at)
    if hot[EPISODES] > 0 and sent_at > hot[CUT_AT] then
        hot[EPISODES] = 0
    end
end

-- {kind, own scope or 0, sent at, four amounts reserved, four kept, scopes…}
local function finish(op)
    local from, own = 12, op[2] > 0 and load(op[2])
    if own and own.hot[EXOTIC] == 1 then
        for i = from, #op do
            local scope = load(op[i])
            if scope then
                scope.told = true
            end
        end
        return IS_EXOTIC
    end
    if own then
        succeeded(own.hot, op[3])
    end
    for i = from, #op do
        local scope = load(op[i])
        if scope then
            settle(scope, op)
        end
    end
    return DONE
end

local function hold(scope, op, at)
    local hot, mine = scope.hot, seen(scope)
    scope.gave = scope.gave or op[at] < mine[HOLDS]
    hot[HELD] = max(hot[HELD] + op[at] - mine[HOLDS], 0)
    mine[HOLDS] = op[at]
    for dimension = 1, 4 do
        local more = op[at + dimension] - mine[HELD_AMOUNTS + dimension]
        flow_more(hot[FLOW], more > 0 and GRANTED or ENDED, dimension, math.abs(more))
        mine[HELD_AMOUNTS + dimension] = op[at + dimension]
    end
end

-- {kind, (scope, permits, four amounts)…}
local function pulse(op)
    local outcome = DONE
    for i = 2, #op, 6 do
        local scope = load(op[i])
        if scope then
            hold(scope, op, i + 1)
            scope.told = true
        elseif outcome == DONE then
            outcome = IS_MISSING + 8 * op[i]
        end
    end
    return outcome
end

-- {kind, scopes…}
local function leave(op)
    for i = 2, #op do
        local scope = load(op[i])
        if scope and scope.mine and scope.mine[SINCE] then
            step_out(scope.mine)
            scope.changed, scope.gave = true, true
        end
    end
    return DONE
end

-- {kind, scopes…}
local function bye(op)
    for i = 2, #op do
        local scope = load(op[i])
        for j = scope and #scope.members or 0, 1, -1 do
            if scope.members[j] == scope.mine then
                release_all(scope.hot, scope.mine)
                table.remove(scope.members, j)
                scope.mine, scope.changed, scope.gave = nil, true, true
                break
            end
        end
    end
    return DONE
end

-- {kind, scope}
local function read(op)
    local scope = load(op[2])
    if not scope then
        return IS_MISSING + 8 * op[2]
    end
    scope.told = true
    return DONE
end

local function is_as_expected(scope, revision)
    if scope then
        return scope.value[REVISION] == revision and not scope.changed
    end
    return revision == 0
end

-- {kind, (scope, expected revision, value)…}: all of them or none. A scope that is new starts from the time, so that it is never taken
-- for one of that name that was there before.
local function swap(op)
    local outcome = SWAPPED
    for i = 2, #op, 3 do
        local scope = load(op[i])
        if not is_as_expected(scope, op[i + 1]) then
            outcome = (scope or outcome ~= SWAPPED) and CHANGED or IS_MISSING + 8 * op[i]
        end
    end
    for i = 2, #op, 3 do
        if outcome == SWAPPED then
            local before = scopes[op[i]]
            local scope = adopt(op[i], op[i + 2])
            scope.value[REVISION] = op[i + 1] > 0 and op[i + 1] or now - 1
            scope.changed, scope.gave, scope.told = true, true, before and before.told
        elseif scopes[op[i]] then
            scopes[op[i]].told = true
        end
    end
    return outcome
end

-- The batch -----------------------------------------------------------------------------------------------

-- The server's time, which never goes back: what it was set back by is added from then on.
local function tell_time()
    local time = call('TIME')
    local server = tonumber(ARGV[2]) or time[1] * 1000000 + time[2]
    local last, skew = string.match(call('GET', KEYS[1]) or '0 0', '^(%d+) (%d+)$')
    last, skew = tonumber(last), tonumber(skew)
    local told = server + skew
    if told < last then
        if last - told > 1000000 then
            skew = skew + last - told
        end
        told = last
    end
    call('SET', KEYS[1], string.format('%.0f %.0f', told, skew), 'PX', SCOPE_KEPT / 1000)
    return told
end

-- How long what is known of a scope is kept, in microseconds.
local function time_to_live(scope)
    local to_full, there = 0, 0
    for _, meter in ipairs(scope.hot[METERS]) do
        to_full = max(to_full, meter[TAT] + 1 - now)
    end
    if scope.hot[IS_CAP] == 0 then
        return max(to_full, SCOPE_KEPT)
    end
    for _, member in ipairs(scope.members) do
        there = max(there, member[THERE_UNTIL] - now)
    end
    return max(to_full, CAP_KEPT) + there
end

-- Wakes the process that is first in line where something was given back, or where more than was taken is there.
local function wake(scope, woken)
    local first = (scope.gave or scope.granted) and first_in_line(scope)
    if not first or first == scope.mine or woken[first[ID]] then
        return
    end
    if scope.gave or has_room(scope.hot, first, WANTED) then
        woken[first[ID]] = true
        call('PUBLISH', KEYS[1] .. ':wake', first[ID])
    end
end

local function save(scope)
    if scope.changed then
        scope.value[REVISION] = scope.value[REVISION] + 1
        scope.raw = pack(scope.value)
        call('SET', KEYS[scope.index + 1], scope.raw, 'PX', ceil(time_to_live(scope) / 1000))
    end
end

if batch[1] ~= VERSION then
    error('ratekeeper: a batch of another version')
end
now = tell_time()
local kinds = { take, finish, pulse, leave, bye, read, swap }
local outcomes = {}
for i, op in ipairs(batch[4]) do
    outcomes[i] = kinds[op[1]](op)
end
local states, woken = {}, {}
for index = 1, #KEYS - 1 do
    local scope = scopes[index]
    if scope then
        save(scope)
        wake(scope, woken)
        if scope.told then
            states[#states + 1] = index
            states[#states + 1] = scope.raw
        end
    end
end
return { now, outcomes, states }
