-- Where services are that are asked of requests: their addresses by name, as the agent looked them up. nginx asks no name
-- server, so that none can keep a request waiting; and which addresses may be asked is the agent's to judge.
local cjson = require "cjson.safe"

local D = ngx.shared.sluice_rows
local match, type = string.match, type

local M = {}

local MOST = 16

local function is_address(text)
  return type(text) == "string" and #text <= 45 and match(text, "^[%x:.]+$") ~= nil
end

-- nil, or why the row was refused.
function M.apply(row)
  local name, addresses = row.name, row.addresses
  if type(name) ~= "string" or #name > 253 or not match(name, "^[%w._:-]+$") then return "name is no host" end
  if row.del then
    D:delete("a:" .. name)
    return nil
  end
  if type(addresses) ~= "table" or #addresses > MOST then return "addresses is no list of at most 16" end
  for _, address in ipairs(addresses) do
    if not is_address(address) then return "addresses: not an IP address" end
  end
  local ok, err = D:safe_set("a:" .. name, #addresses == 0 and "[]" or cjson.encode(addresses))
  return not ok and "shared memory: " .. err or nil
end

local parsed, kept = {}, 0

-- nil: not known.
function M.addresses(name)
  local raw = D:get("a:" .. name)
  if not raw then return nil end
  local list = parsed[raw]
  if not list then
    if kept >= 1000 then parsed, kept = {}, 0 end
    list = cjson.decode(raw) or {}
    parsed[raw], kept = list, kept + 1
  end
  return list
end

return M
