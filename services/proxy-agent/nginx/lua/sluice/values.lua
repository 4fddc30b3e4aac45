-- What a value that came from outside has to be: the same questions for every row.
local find, floor, match, tonumber, type = string.find, math.floor, string.match, tonumber, type

local M = {}

-- A text that is not empty, of at most so many bytes, in which the pattern `unwanted` (nil: none) finds nothing.
function M.is_text(value, unwanted, most)
  return type(value) == "string" and #value > 0 and #value <= most and not (unwanted and find(value, unwanted))
end

function M.is_whole(value, low, high)
  return type(value) == "number" and value >= low and value <= high and floor(value) == value
end

-- The number of the last try in a variable of nginx's upstream module, which lists all tries; nil: there is none.
function M.last_number(list)
  return list and tonumber(match(list, "([^ ,:]+)%s*$"))
end

return M
