-- What a target does in phases that only some locations have: a profile says which, so that other requests pay nothing.
local M = {}

local function add(target, phase, step)
  local steps = target[phase] or {}
  target[phase], steps[#steps + 1] = steps, step
end

-- Asked before a peer is, in locations that guard: `guard.check(guard, var, state)` returns nil, or why the request may not
-- pass, as an answer of proxy.lua is called; or it ends the request itself. `state` is the request's until its log phase,
-- which calls `state.ended(state)`.
function M.guard(target, guard)
  add(target, "guards", guard)
end

-- Changes the header of an answer, in locations that filter: `filter.apply(filter, var, state)`; nil where the request needed none.
function M.filter(target, filter)
  add(target, "filters", filter)
end

return M
