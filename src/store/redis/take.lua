-- Whether a call starts; if it does not, where it waits.

-- Outcomes; the index of a scope is added eight times.
local GRANTED_CALL, DONE, SWAPPED, CHANGED, IS_EXOTIC, IS_REFUSED, IS_MISSING = 0, 1, 2, 3, 4, 5, 6

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
