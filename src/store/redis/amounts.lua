-- Sums of money and tokens, exact beyond what a double counts.
--
-- An amount is a pair of whole numbers, in ten thousand millions and ones, since pico-USD pass 2^53 at 9,000 USD. It never passes 2^64 - 1.

local BASE, MOST_HIGH, MOST_LOW = 1e10, 1844674407, 3709551615
local MEASURES = 3

local function amount_of(word)
    if #word <= 10 then
        return {0, tonumber(word)}
    end
    return {tonumber(word:sub(1, -11)), tonumber(word:sub(-10))}
end

local function text_of(amount)
    if amount[1] == 0 then
        return string.format('%.0f', amount[2])
    end
    return string.format('%.0f%010.0f', amount[1], amount[2])
end

local function is_more(one, other)
    return one[1] > other[1] or (one[1] == other[1] and one[2] > other[2])
end

local function sum(one, other)
    local high, low = one[1] + other[1], one[2] + other[2]
    if low >= BASE then
        high, low = high + 1, low - BASE
    end
    if is_more({high, low}, {MOST_HIGH, MOST_LOW}) then
        return {MOST_HIGH, MOST_LOW}
    end
    return {high, low}
end

local function rest(one, other)
    if is_more(other, one) then
        return {0, 0}
    end
    local high, low = one[1] - other[1], one[2] - other[2]
    if low < 0 then
        high, low = high - 1, low + BASE
    end
    return {high, low}
end

local function each(act, one, other)
    local found = {}
    for measure = 1, MEASURES do
        found[measure] = act(one[measure], other[measure])
    end
    return found
end

local function is_nothing(amount)
    return amount[1] == 0 and amount[2] == 0
end

