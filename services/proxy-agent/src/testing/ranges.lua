-- Asked by packed-ranges.test.ts: which of these addresses (hexadecimal) are in these ranges.
local cjson = require "cjson.safe"
local ranges = require "sluice.access_ranges"

local M = {}

local function bytes(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

function M.serve()
  ngx.req.read_body()
  local doc = assert(cjson.decode(ngx.req.get_body_data()))
  local problem = ranges.problem(doc.ranges)
  if problem then error(problem) end
  local compiled, inside = ranges.compile(doc.ranges), {}
  for i, address in ipairs(doc.addresses) do inside[i] = ranges.has(compiled, bytes(address)) end
  ngx.print(cjson.encode { inside = inside })
end

return M
