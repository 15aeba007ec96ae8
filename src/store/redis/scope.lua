-- The scopes that a batch touches: each is read once and changed in memory; who uses it, who of them stands in line, and what it has
-- granted. Once more what state.rs and pace/flow.rs do.

-- Flow ----------------------------------------------------------------------------------------------------

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

-- Members -------------------------------------------------------------------------------------------------

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
