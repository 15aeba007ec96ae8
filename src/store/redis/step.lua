-- A batch of steps on the scopes of one tree, all at one moment: the arithmetic of bucket.rs, semaphore.rs and pace/ once more, inside
-- the server. Pure but for the clock: scopes are read once, changed in memory, and written once when all steps are done, so an error
-- leaves everything as it was.
--
-- Time is in whole microseconds, which doubles count exactly up to 2^53. A quantity of a bucket is a pair (us, rem) of whole microseconds
-- and a rest in microseconds / amount, 0 <= rem < amount. step.rs puts the constants in front: VERSION, MOST, KEPT, PLACE_KEPT, SPAN,
-- CAP_KEPT, SCOPE_KEPT.

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local call, pack, unpack_value = redis.call, cmsgpack.pack, cmsgpack.unpack

-- Where in a value,
local REVISION, HOT, MEMBERS = 2, 4, 5
-- in its hot part,
local EXOTIC, IS_CAP, PERMITS, HELD, UNTIL, CUT_AT, EPISODES, FLOW, METERS = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- in a meter: ODD is 1 where the period was rounded up to PERIOD,
local DIMENSION, AMOUNT, PERIOD, ODD, BURST, LARGEST, TAT, REM, LOWS, HIGHS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
-- in the flow, the places before four amounts, and moments: a time and four amounts,
local GRANTED, ENDED, REFUSED, NOTES_AT, EARLIER, LATER = 0, 4, 8, 13, 14, 19
-- and in a member: the last two parts are there only while it stands in line.
local ID, THERE_UNTIL, HOLDS, HELD_AMOUNTS, SINCE, KEPT_UNTIL, WANTED = 1, 2, 3, 3, 8, 9, 9

-- Outcomes; the index of a scope is added eight times.
local GRANTED_CALL, DONE, SWAPPED, CHANGED, IS_EXOTIC, IS_REFUSED, IS_MISSING = 0, 1, 2, 3, 4, 5, 6

local now
local batch = unpack_value(ARGV[1])
local process, presence = batch[2], batch[3]
-- What was read, by index: false for a scope that is not there.
local scopes = {}

-- Pairs ---------------------------------------------------------------------------------------------------------------------------

local function add(us, rem, more, more_rem, amount)
    us, rem = us + more, rem + more_rem
    if rem >= amount then
        us, rem = us + 1, rem - amount
    end
    if us >= MOST then
        return MOST, 0
    end
    return us, rem
end

local function is_less(us, rem, than, than_rem)
    return us < than or (us == than and rem < than_rem)
end

-- Never below zero.
local function subtract(us, rem, less, less_rem, amount)
    if is_less(us, rem, less, less_rem) then
        return 0, 0
    end
    us, rem = us - less, rem - less_rem
    if rem < 0 then
        us, rem = us - 1, rem + amount
    end
    return us, rem
end

-- How long it takes until so much has flowed in: count * period / amount. Products beyond 2^53 are made of those of the half.
local function cost(count, period, amount)
    local whole = floor(period / amount)
    local rest = count * (period - whole * amount)
    if rest < MOST then
        local carry = floor(rest / amount)
        local us = count * whole + carry
        if us >= MOST then
            return MOST, 0
        end
        return us, rest - carry * amount
    end
    local half = floor(count / 2)
    local us, rem = cost(half, period, amount)
    us, rem = add(us, rem, us, rem, amount)
    if count > 2 * half then
        local one, one_rem = cost(1, period, amount)
        us, rem = add(us, rem, one, one_rem, amount)
    end
    return us, rem
end

-- Marks: flat triples of a time, doubled, plus one where it lies within the microsecond that begins then; and a pair ------------------

local function record(marks, us, rem, is_low)
    local last, at = #marks, 2 * now
    if last > 0 then
        at = max(at, marks[last - 2])
    end
    while last > 0 do
        local last_us, last_rem = marks[last - 1], marks[last]
        local is_more = is_less(us, rem, last_us, last_rem)
        if is_low then
            is_more = is_less(last_us, last_rem, us, rem)
        end
        if is_more then
            break
        end
        marks[last], marks[last - 1], marks[last - 2] = nil, nil, nil
        last = last - 3
    end
    if last == 3 * KEPT then
        local extreme, extreme_rem = marks[2], marks[3]
        for i = 1, last - 3 do
            marks[i] = marks[i + 3]
        end
        marks[2], marks[3] = extreme, extreme_rem
        last = last - 3
    end
    marks[last + 1], marks[last + 2], marks[last + 3] = at, us, rem
end

-- The place of the first mark after a time.
local function first_after(marks, time)
    for i = 1, #marks, 3 do
        if marks[i] > 2 * time then
            return i
        end
    end
end

local function lower_from(marks, from, us, rem, amount)
    local last = #marks
    for i = from, last, 3 do
        marks[i + 1], marks[i + 2] = subtract(marks[i + 1], marks[i + 2], us, rem, amount)
    end
    local to = from
    while to > 1 and not is_less(marks[to - 2], marks[to - 1], marks[from + 1], marks[from + 2]) do
        to = to - 3
    end
    if to < from then
        for i = from, last do
            marks[to + i - from] = marks[i]
        end
        for i = last, last - (from - to) + 1, -1 do
            marks[i] = nil
        end
    end
end

-- Buckets ---------------------------------------------------------------------------------------------------------------------------

-- What may be missing while so much fits. A period that was rounded up is rounded down where that grants less.
local function slack(meter, count)
    return cost(meter[BURST] - min(count, meter[BURST]), meter[PERIOD] - meter[ODD], meter[AMOUNT])
end

local function fits(meter, count)
    if count == 0 then
        return true
    end
    local us, rem = slack(meter, count)
    us = us + now
    return count <= meter[LARGEST] and not is_less(us, rem, meter[TAT], meter[REM])
end

local function ready_at(meter, ahead, count)
    local amount = meter[AMOUNT]
    local us, rem = cost(ahead, meter[PERIOD], amount)
    us, rem = add(meter[TAT], meter[REM], us, rem, amount)
    local less, less_rem = slack(meter, count)
    us, rem = subtract(us, rem, less, less_rem, amount)
    return rem > 0 and us + 1 or us
end

local function charge(meter, count)
    if count == 0 then
        return
    end
    local amount = meter[AMOUNT]
    local us, rem = subtract(meter[TAT], meter[REM], now, 0, amount)
    record(meter[LOWS], us, rem, true)
    local more, more_rem = cost(count, meter[PERIOD], amount)
    us, rem = add(us, rem, more, more_rem, amount)
    record(meter[HIGHS], us, rem, false)
    meter[TAT], meter[REM] = add(us, rem, now, 0, amount)
end

local function refund(meter, count, charged_at)
    local amount, lows = meter[AMOUNT], meter[LOWS]
    local us, rem = cost(count, meter[PERIOD] - meter[ODD], amount)
    local from = first_after(lows, charged_at)
    if from then
        if is_less(lows[from + 1], lows[from + 2], us, rem) then
            us, rem = lows[from + 1], lows[from + 2]
        end
        lower_from(lows, from, us, rem, amount)
    end
    meter[TAT], meter[REM] = subtract(meter[TAT], meter[REM], us, rem, amount)
end

-- Flow ------------------------------------------------------------------------------------------------------------------------------

local function flow_more(flow, part, dimension, amount)
    flow[part + dimension] = min(flow[part + dimension] + amount, MOST)
end

local function note(flow)
    local is_kept = flow[LATER] > 0 and now - flow[LATER] < 2 * SPAN
    for i = 0, is_kept and 4 or -1 do
        flow[EARLIER + i] = flow[LATER + i]
    end
    flow[LATER] = now
    for dimension = 1, 4 do
        flow[LATER + dimension] = max(flow[GRANTED + dimension] - flow[REFUSED + dimension], 0)
    end
    for i = 0, is_kept and -1 or 4 do
        flow[EARLIER + i] = flow[LATER + i]
    end
    flow[NOTES_AT] = now + SPAN
end

-- Members -----------------------------------------------------------------------------------------------------------------------------

local function release_all(hot, member)
    hot[HELD] = max(hot[HELD] - member[HOLDS], 0)
    for dimension = 1, 4 do
        flow_more(hot[FLOW], ENDED, dimension, member[HELD_AMOUNTS + dimension])
    end
end

-- Whoever is overdue is struck off; but not the process whose batch this is, which is there.
local function meet(scope)
    local members = scope.members
    for i = #members, 1, -1 do
        local member = members[i]
        if member[ID] == process then
            scope.mine = member
        elseif member[THERE_UNTIL] <= now then
            release_all(scope.hot, member)
            table.remove(members, i)
            scope.changed, scope.gave = true, true
        end
    end
end

local function adopt(index, raw)
    local value = unpack_value(raw)
    if type(value) ~= 'table' or value[1] ~= VERSION then
        error('ratekeeper: the state of a scope is of another version')
    end
    local scope = { index = index, raw = raw, value = value, hot = value[HOT], members = value[MEMBERS] }
    scopes[index] = scope
    meet(scope)
    return scope
end

local function load(index)
    local scope = scopes[index]
    if scope ~= nil then
        return scope
    end
    local raw = call('GET', KEYS[index + 1])
    if raw then
        return adopt(index, raw)
    end
    scopes[index] = false
    return false
end

-- The process is there, as a member that is new or not.
local function seen(scope)
    local mine = scope.mine
    if not mine then
        mine = { process, 0, 0, 0, 0, 0, 0 }
        scope.mine = mine
        scope.members[#scope.members + 1] = mine
    end
    mine[THERE_UNTIL] = now + presence
    scope.changed = true
    return mine
end

local function is_standing(member)
    return member[KEPT_UNTIL] and member[KEPT_UNTIL] > now
end

local function step_out(member)
    for i = WANTED + 4, SINCE, -1 do
        member[i] = nil
    end
end

local function stand(scope, op)
    for _, member in ipairs(scope.members) do
        if member[KEPT_UNTIL] and not is_standing(member) then
            step_out(member)
        end
    end
    local mine = seen(scope)
    mine[SINCE], mine[KEPT_UNTIL] = mine[SINCE] or now, now + PLACE_KEPT
    for dimension = 1, 4 do
        mine[WANTED + dimension] = op[1 + dimension]
    end
end

-- Adds to `sum` what those ask for who stand before this process; whether anybody does.
local function add_ahead(scope, sum)
    local mine, found, is_behind = scope.mine, false, false
    local own = mine and is_standing(mine) and mine[SINCE] or math.huge
    for _, member in ipairs(scope.members) do
        if member == mine then
            is_behind = true
        elseif is_standing(member) and (member[SINCE] < own or (member[SINCE] == own and not is_behind)) then
            found = true
            for dimension = 1, 4 do
                sum[dimension] = min(sum[dimension] + member[WANTED + dimension], MOST)
            end
        end
    end
    return found
end

local function first_in_line(scope)
    local first
    for _, member in ipairs(scope.members) do
        if is_standing(member) and (not first or member[SINCE] < first[SINCE]) then
            first = member
        end
    end
    return first
end

-- Takes ---------------------------------------------------------------------------------------------------------------------------------

local function has_permit(hot)
    return hot[PERMITS] == 0 or hot[HELD] < hot[PERMITS]
end

-- For amounts that follow a place of a table.
local function has_room(hot, amounts, before)
    if not has_permit(hot) or now < hot[UNTIL] then
        return false
    end
    for _, meter in ipairs(hot[METERS]) do
        if not fits(meter, amounts[before + meter[DIMENSION]]) then
            return false
        end
    end
    return true
end

local function grant(scope, op)
    local hot, mine = scope.hot, seen(scope)
    local flow = hot[FLOW]
    hot[HELD], mine[HOLDS] = hot[HELD] + 1, mine[HOLDS] + 1
    for _, meter in ipairs(hot[METERS]) do
        charge(meter, op[1 + meter[DIMENSION]])
    end
    if now >= flow[NOTES_AT] then
        note(flow)
    end
    for dimension = 1, 4 do
        flow_more(flow, GRANTED, dimension, op[1 + dimension])
        mine[HELD_AMOUNTS + dimension] = min(mine[HELD_AMOUNTS + dimension] + op[1 + dimension], MOST)
    end
    step_out(mine)
    scope.granted = true
end

-- Until when a scope keeps a call from starting, permits aside; and whether it never lets it.
local function obstacle(scope, op, ahead)
    local hot = scope.hot
    local latest = hot[UNTIL] > now and hot[UNTIL] or 0
    for _, meter in ipairs(hot[METERS]) do
        local count = op[1 + meter[DIMENSION]]
        if count > meter[LARGEST] then
            return 0, true
        end
        local ready = count > 0 and ready_at(meter, ahead[meter[DIMENSION]], count) or 0
        if ready > now then
            latest = max(latest, ready)
        end
    end
    return latest, false
end

local function refuse(scope, blocks)
    scope.told, scope.blocks = true, scope.blocks or blocks
    return IS_REFUSED + 8 * scope.index
end

-- The process stands in one scope: where others are before it, where no permit is free, or where room comes last; and not for a pause,
-- nor for what never fits.
local function wait(op, from, first_ahead, ahead)
    local last, latest, without_permit
    for i = from, #op do
        local scope = scopes[op[i]]
        local at, is_never = obstacle(scope, op, ahead)
        if is_never then
            return refuse(scope, false)
        end
        if at > (latest or 0) then
            last, latest = scope, at
        end
        if not without_permit and not has_permit(scope.hot) then
            without_permit = scope
        end
    end
    if last and last.hot[UNTIL] > now then
        return refuse(last, true)
    end
    local place = first_ahead or without_permit or last
    stand(place, op)
    return refuse(place, true)
end

-- What keeps a step from being taken here at all: a scope that is not there, or one that is left to Rust, which then needs them all.
local function beyond(op, from)
    local is_exotic, blocking = false, nil
    for i = from, #op do
        local scope = load(op[i])
        if not scope then
            return IS_MISSING + 8 * op[i]
        end
        is_exotic = is_exotic or scope.hot[EXOTIC] == 1
        blocking = blocking or (scope.blocks and scope)
    end
    if blocking then
        return refuse(blocking, true)
    end
    for i = from, is_exotic and #op or 0 do
        scopes[op[i]].told = true
    end
    return is_exotic and IS_EXOTIC or nil
end

-- {kind, four amounts, scopes…}
local function take(op)
    local from = 6
    local outcome = beyond(op, from)
    if outcome then
        return outcome
    end
    local ahead, first_ahead, is_free = { 0, 0, 0, 0 }, nil, true
    for i = from, #op do
        local scope = scopes[op[i]]
        if add_ahead(scope, ahead) then
            first_ahead = first_ahead or scope
        end
        is_free = is_free and has_room(scope.hot, op, 1)
    end
    if first_ahead or not is_free then
        return wait(op, from, first_ahead, ahead)
    end
    for i = from, #op do
        grant(scopes[op[i]], op)
    end
    return GRANTED_CALL
end

-- Other steps ---------------------------------------------------------------------------------------------------------------------------

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

-- The batch -----------------------------------------------------------------------------------------------------------------------------

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
