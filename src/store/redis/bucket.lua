-- What all parts of the script know, and the arithmetic of bucket.rs once more, in whole numbers that doubles count exactly.
--
-- Time is in microseconds, below 2^53. A quantity of a bucket is a pair (us, rem): whole microseconds, and a rest in microseconds / amount
-- with 0 <= rem < amount. step.rs joins the parts, puts constants in front (VERSION, MOST, KEPT, PLACE_KEPT, SPAN, CAP_KEPT,
-- SCOPE_KEPT), and writes the number for each name that a line like those below gives to one.

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

local now
local batch = unpack_value(ARGV[1])
local process, presence = batch[2], batch[3]
-- What was read, by index: false for a scope that is not there.
local scopes = {}

-- Pairs ---------------------------------------------------------------------------------------------------

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

-- Marks: flat triples of a time, doubled, plus one where it lies within the microsecond that begins then; and a pair

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

-- Buckets -------------------------------------------------------------------------------------------------

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
