-- One step on all purses of a call: the arithmetic of budget.rs and purses.rs once more, inside the server. Purses are read once, changed in
-- memory, and written once at the end, so a refusal or an error leaves everything as it was.
--
-- KEYS[1] says who is there; the others are the purses. ARGV[1] is words: what to do, who asks, whether it has asked before, and the time in
-- microseconds ("-" for the server's own), then the words of each step.
--
-- amounts.lua comes before.
-- purses.rs puts the constants in front: PRESENCE, PLACE_KEPT (microseconds), REMEMBERED, KEPT (milliseconds).

-- Where in a purse,
local CEILING, WORD, SPENT, RESERVED, START, FIN, TURN, WARN_AT, WARNED, HOLDERS, LINE = 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
-- in a holder, and in a place.
local ID, HOLDS, OUTLAY, SINCE, UNTIL = 1, 2, 3, 2, 3

local call = redis.call
local words = string.gmatch(ARGV[1], '%S+')
local step, process, is_known, at = words(), tonumber(words()), words() == '1', words()

if at == '-' then
    local time = call('TIME')
    at = time[1] * 1000000 + time[2]
else
    at = tonumber(at)
end
local now = at / 1000000

-- Purses --------------------------------------------------------------------------------------------------------------------------

local function read_amounts()
    return {amount_of(words()), amount_of(words()), amount_of(words())}
end

local function read_ceiling()
    local ceiling = {}
    for measure = 1, MEASURES do
        local word = words()
        ceiling[measure] = word ~= '-' and amount_of(word)
    end
    return ceiling
end

local function read_asked()
    local asked = {ceiling = read_ceiling(), warn_at = tonumber(words())}
    asked.start, asked.fin = tonumber(words()) or false, tonumber(words()) or false
    asked.is_first_word = words() == '1'
    return asked
end

local function is_in_window(asked)
    return not asked.fin or (asked.start <= now and now < asked.fin)
end

local function new(asked)
    local nothing = {{0, 0}, {0, 0}, {0, 0}}
    local turn = asked.fin and 1 or 0
    return {
        1, asked.ceiling, asked.ceiling, nothing, nothing, asked.start, asked.fin, turn, asked.warn_at, false, {}, {},
    }
end

local function is_same(one, other)
    for measure = 1, MEASURES do
        local mine, theirs = one[measure], other[measure]
        if (not mine) ~= (not theirs) or (mine and (mine[1] ~= theirs[1] or mine[2] ~= theirs[2])) then
            return false
        end
    end
    return true
end

local function set_ceiling(purse, asked)
    purse[CEILING], purse[WARNED] = asked.ceiling, false
end

local function hear(purse, asked)
    if asked.is_first_word and not is_same(purse[WORD], asked.ceiling) then
        set_ceiling(purse, asked)
        purse[WORD] = asked.ceiling
    end
end

local function is_over(purse, moment)
    local start, fin = purse[START], purse[FIN]
    return fin and (moment >= fin or moment < start - (fin - start))
end

local function turn_to(purse, asked)
    if asked.start >= purse[FIN] then
        purse[TURN], purse[WARNED], purse[HOLDERS] = purse[TURN] + 1, false, {}
        purse[SPENT], purse[RESERVED] = {{0, 0}, {0, 0}, {0, 0}}, {{0, 0}, {0, 0}, {0, 0}}
    end
    purse[START], purse[FIN] = asked.start, asked.fin
end

local function is_past_warning(purse)
    for measure = 1, MEASURES do
        local most = purse[CEILING][measure]
        if most and tonumber(text_of(purse[SPENT][measure])) >= tonumber(text_of(most)) * purse[WARN_AT] then
            return true
        end
    end
    return false
end

-- Replaces what was reserved by what was taken; whether that was the step past the warning.
local function settle(purse, reserved, taken)
    purse[RESERVED] = each(rest, purse[RESERVED], reserved)
    purse[SPENT] = each(sum, purse[SPENT], taken)
    if purse[WARNED] or not is_past_warning(purse) then
        return false
    end
    purse[WARNED] = true
    return true
end

local function place_of(list, id)
    for place, one in ipairs(list) do
        if one[ID] == id then
            return place
        end
    end
end

local function leave(purse, id)
    local place = place_of(purse[LINE], id)
    if place then
        table.remove(purse[LINE], place)
    end
end

-- Counts all that those held who are gone.
local function strike_off(purse)
    for place = #purse[HOLDERS], 1, -1 do
        local holder = purse[HOLDERS][place]
        if not call('ZSCORE', KEYS[1], string.format('%.0f', holder[ID])) then
            table.remove(purse[HOLDERS], place)
            leave(purse, holder[ID])
            settle(purse, holder[OUTLAY], holder[OUTLAY])
        end
    end
end

local function find(place)
    local bytes = call('GET', KEYS[place])
    if not bytes then
        return nil
    end
    local purse = cmsgpack.unpack(bytes)
    strike_off(purse)
    return purse
end

local function save(place, purse)
    local expiry = purse[FIN] and math.max(purse[FIN] - now, 0) * 1000 + REMEMBERED or KEPT
    call('SET', KEYS[place], cmsgpack.pack(purse), 'PX', string.format('%.0f', expiry))
end

local function told(purse)
    local said = {}
    for measure = 1, MEASURES do
        local most = purse[CEILING][measure]
        said[measure] = most and text_of(most) or '-'
        said[MEASURES + measure] = text_of(purse[SPENT][measure])
        said[2 * MEASURES + measure] = text_of(purse[RESERVED][measure])
    end
    said[#said + 1] = purse[FIN] and string.format('%.17g', purse[START]) or '-'
    said[#said + 1] = purse[FIN] and string.format('%.17g', purse[FIN]) or '-'
    said[#said + 1] = string.format('%.0f', purse[TURN])
    return table.concat(said, ' ')
end

-- Who is there --------------------------------------------------------------------------------------------------------------------

call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
local is_there = call('ZSCORE', KEYS[1], process)
-- One that was missed holds nothing any more, and must not be taken for who held it: it goes on under another name.
if not is_there and is_known and step == 'claim' then
    return 'lapsed'
end
if step == 'leave' then
    call('ZREM', KEYS[1], process)
    return 'left'
end
if is_there or step == 'claim' then
    call('ZADD', KEYS[1], at + PRESENCE, process)
    call('PEXPIRE', KEYS[1], math.floor(PRESENCE / 1000))
end

-- Steps ---------------------------------------------------------------------------------------------------------------------------

local count = #KEYS - 1

local function stands_since(purses)
    local since
    for _, purse in ipairs(purses) do
        local place = purse[LINE][place_of(purse[LINE], process)]
        if place and place[UNTIL] > at and (not since or place[SINCE] < since) then
            since = place[SINCE]
        end
    end
    return since or at
end

local function is_behind(purse, since)
    for _, place in ipairs(purse[LINE]) do
        local is_ahead = place[SINCE] < since or (place[SINCE] == since and place[ID] < process)
        if place[ID] ~= process and place[UNTIL] > at and is_ahead then
            return true
        end
    end
    return false
end

local function stand(purse, since)
    local line = {}
    for _, place in ipairs(purse[LINE]) do
        if place[ID] ~= process and place[UNTIL] > at then
            line[#line + 1] = place
        end
    end
    line[#line + 1] = {process, since, at + PLACE_KEPT}
    purse[LINE] = line
end

-- nil if it fits; otherwise 'waits' or 'exceeded', and the measure.
local function verdict(purse, outlay)
    local why, which
    for measure = 1, MEASURES do
        local most, asked = purse[CEILING][measure], outlay[measure]
        if most and not is_nothing(asked) then
            local taken = sum(purse[SPENT][measure], asked)
            if is_more(taken, most) then
                return 'exceeded', measure
            end
            if is_more(sum(taken, purse[RESERVED][measure]), most) then
                why, which = 'waits', measure
            end
        end
    end
    return why, which
end

local function bound_of(purse, outlay)
    for measure = 1, MEASURES do
        if purse[CEILING][measure] and not is_nothing(outlay[measure]) then
            return measure
        end
    end
    return MEASURES
end

local function hold(purse, outlay)
    purse[RESERVED] = each(sum, purse[RESERVED], outlay)
    local holder = purse[HOLDERS][place_of(purse[HOLDERS], process)]
    if holder then
        holder[HOLDS], holder[OUTLAY] = holder[HOLDS] + 1, each(sum, holder[OUTLAY], outlay)
    else
        table.insert(purse[HOLDERS], {process, 1, outlay})
    end
end

local function save_all(purses)
    for place, purse in ipairs(purses) do
        save(place + 1, purse)
    end
end

-- The purse in the window of now, or nil if that is another one than was asked for.
local function in_window(place, asked)
    local purse = find(place)
    if purse and not is_over(purse, now) then
        return purse
    end
    if not is_in_window(asked) then
        return nil
    end
    if not purse then
        return new(asked)
    end
    turn_to(purse, asked)
    return purse
end

local steps = {}

function steps.claim()
    local outlay, purses, waits, since = read_amounts(), {}, {}, nil
    for place = 1, count do
        local asked = read_asked()
        local purse = in_window(place + 1, asked)
        if not purse then
            return string.format('elsewhen %d %.17g', place - 1, now)
        end
        hear(purse, asked)
        purses[place] = purse
    end
    since = stands_since(purses)
    for place, purse in ipairs(purses) do
        local why, measure = verdict(purse, outlay)
        if why == 'exceeded' then
            for _, one in ipairs(purses) do
                leave(one, process)
            end
            save_all(purses)
            return string.format('exceeded %d %d ', place - 1, measure - 1) .. told(purse)
        end
        if why or is_behind(purse, since) then
            waits[#waits + 1] = {place, measure or bound_of(purse, outlay)}
        end
    end
    for _, one in ipairs(waits) do
        stand(purses[one[1]], since)
    end
    local said = {'held', call('ZCARD', KEYS[1])}
    if #waits == 0 then
        for place, purse in ipairs(purses) do
            leave(purse, process)
            hold(purse, outlay)
            said[place + 2] = string.format('%.0f', purse[TURN])
        end
    end
    save_all(purses)
    if #waits > 0 then
        return string.format('waits %d %d ', waits[1][1] - 1, waits[1][2] - 1) .. told(purses[waits[1][1]])
    end
    return table.concat(said, ' ')
end

function steps.settle()
    local holder_id, reserved, taken, said = tonumber(words()), read_amounts(), read_amounts(), {}
    for place = 1, count do
        local turn, asked = tonumber(words()), read_asked()
        local purse, warned = find(place + 1) or new(asked), false
        local at_place = turn == purse[TURN] and place_of(purse[HOLDERS], holder_id)
        if at_place then
            local holder = purse[HOLDERS][at_place]
            holder[HOLDS], holder[OUTLAY] = holder[HOLDS] - 1, each(rest, holder[OUTLAY], reserved)
            if holder[HOLDS] <= 0 then
                table.remove(purse[HOLDERS], at_place)
            end
            warned = settle(purse, reserved, taken)
            save(place + 1, purse)
        end
        said[place] = (warned and '1 ' or '0 ') .. told(purse)
    end
    return table.concat(said, ' ')
end

function steps.charge()
    local taken, asked = read_amounts(), read_asked()
    local purse = in_window(2, asked)
    if not purse then
        return string.format('elsewhen 0 %.17g', now)
    end
    purse[SPENT] = each(sum, purse[SPENT], taken)
    save(2, purse)
    return 'charged'
end

function steps.ceiling()
    local asked = read_asked()
    local purse = find(2) or new(asked)
    set_ceiling(purse, asked)
    save(2, purse)
    return 'set'
end

function steps.read()
    local asked = read_asked()
    local purse = find(2) or new(asked)
    if asked.fin and is_over(purse, asked.start) then
        turn_to(purse, asked)
    end
    return told(purse)
end

function steps.pulse()
    return 'there'
end

return steps[step]()
