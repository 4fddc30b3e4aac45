-- On which side of a path with a canary a session began: its cookie says so, behind its value.
local byte, find, pairs, sub = string.byte, string.find, pairs, string.sub

local M = {}

local MARK = ".c"
local DOT = byte(".")

-- The value alone; what came (nil too) where it is without the mark.
function M.unmarked(said)
  return said and byte(said, -2) == DOT and sub(said, -2) == MARK and sub(said, 1, -3) or said
end

-- true: with the canary, false: without, nil: it is no session. Values are 16 or 32 hexadecimal digits (sessions.lua).
function M.of(said)
  if not said then return nil end
  local value = M.unmarked(said)
  if find(value, "%X") or #value ~= 16 and #value ~= 32 then return nil end
  return value ~= said
end

-- The policies of a path's own sessions beside a canary, and of the canary's.
function M.split(policy)
  local main, canary = {}, {}
  for key, value in pairs(policy) do main[key], canary[key] = value, value end
  main.leaves, canary.mark = true, MARK
  return main, canary
end

return M
