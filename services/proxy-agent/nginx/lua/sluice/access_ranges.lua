-- Lists of addresses. A row has them as the agent packed them: the first and the last address of each range, in the bytes
-- of the network, sorted and apart from each other; base64. Found by bisection, so that ten thousand cost as little as ten.
local ffi = require "ffi"

local byte, decode, sub, type = string.byte, ngx.decode_base64, string.sub, type
local cast, floor = ffi.cast, math.floor
local bytes = ffi.typeof "const char *"

ffi.cdef "int memcmp(const void *a, const void *b, size_t n);"
local compare = ffi.C.memcmp

local M = {}

-- Bytes of an address; of what is longer than MOST ranges a row was not made by us.
local WIDTHS = { v4 = 4, v6 = 16 }
local MOST = 10000

local function read(text, width)
  if text == nil then return "" end
  local packed = type(text) == "string" and #text <= 4 * MOST * width and decode(text)
  if not packed or #packed % (2 * width) ~= 0 or #packed > 2 * width * MOST then return nil end
  return packed
end

-- What is wrong with them; nil: nothing.
function M.problem(ranges)
  if type(ranges) ~= "table" then return "ranges are no object" end
  for name, width in pairs(WIDTHS) do
    if not read(ranges[name], width) then return "ranges of " .. name .. " are not packed addresses" end
  end
  return nil
end

function M.compile(ranges)
  return { v4 = read(ranges.v4, 4), v6 = read(ranges.v6, 16) }
end

local function holds(packed, address, width)
  local at, low, high = cast(bytes, packed), 0, #packed / (2 * width) - 1
  while low <= high do
    local middle = floor((low + high) / 2)
    local range = at + middle * 2 * width
    if compare(address, range, width) < 0 then high = middle - 1
    elseif compare(address, range + width, width) > 0 then low = middle + 1
    else return true end
  end
  return false
end

local MAPPED = ("\0"):rep(10) .. "\255\255"

-- `address`: 4 or 16 bytes, as $binary_remote_addr has them. What is neither (a unix socket) is in no range.
function M.has(ranges, address)
  if #address == 16 then
    if byte(address) ~= 0 or sub(address, 1, 12) ~= MAPPED then return holds(ranges.v6, address, 16) end
    address = sub(address, 13)
  end
  return #address == 4 and holds(ranges.v4, address, 4)
end

return M
