-- Headers of answers, in place of what the peer says under their names (custom-headers).
local phases = require "sluice.phases"

local ngx = ngx
local find, ipairs, match, type = string.find, ipairs, string.match, type

local M = {}

local MOST = 64

-- What is wrong with it; nil: nothing.
function M.problem(headers)
  if type(headers) ~= "table" or #headers > MOST then return "answerHeaders is no list, or too long" end
  for _, header in ipairs(headers) do
    if type(header) ~= "table" or type(header.name) ~= "string" or #header.name > 128 or not match(header.name, "^[%w-]+$") then
      return "answerHeaders: a header has no name"
    end
    local value = header.value
    if type(value) ~= "string" or #value > 4096 or find(value, "[^\32-\126]") then
      return "answerHeaders: " .. header.name .. " has no header's value"
    end
  end
  return nil
end

local function apply(filter)
  local headers, header = filter.headers, ngx.header
  for i = 1, #headers do header[headers[i].name] = headers[i].value end
end

function M.compile(headers, target)
  if #headers > 0 then phases.filter(target, { apply = apply, headers = headers }) end
end

return M
