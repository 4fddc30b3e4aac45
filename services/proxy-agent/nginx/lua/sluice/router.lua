-- host -> exact and longest-prefix path -> target. Each worker keeps the hosts that it was asked for; one read of the
-- host's generation tells whether what it keeps still holds.
local cjson = require "cjson.safe"

local D = ngx.shared.sluice_rows
local find, sub, byte = string.find, string.sub, string.byte
local SLASH = byte("/")

local M = {}

-- Hosts kept per worker. Rows are bounded by the agent; this only bounds what hosts that are gone leave behind.
local LIMIT = 100000
local hosts, count = {}, 0

local function target_of(path)
  local id = path[3]
  return { id = id, key = "g:" .. id, profile = path[4], path = path[2] }
end

local function compile(host, gen)
  local raw = D:get("r:" .. host)
  local paths = raw and cjson.decode(raw)
  if not paths then return nil end
  local row = { key = "h:" .. host, gen = gen, exact = {}, prefix = {} }
  for _, path in ipairs(paths) do
    local text = path[2]
    if path[1] == "E" then
      row.exact[text] = row.exact[text] or target_of(path)
    else
      -- By path element: /foo and /foo/ are one prefix; where both are given the longer text wins.
      local element = text
      while byte(element, -1) == SLASH do element = sub(element, 1, -2) end
      local other = row.prefix[element]
      if not other or #other.path < #text then row.prefix[element] = target_of(path) end
    end
  end
  row.root = row.prefix[""]
  if not hosts[host] then
    count = count + 1
    if count > LIMIT then hosts, count = {}, 1 end
  end
  hosts[host] = row
  return row
end

-- The row of exactly this host, or nil.
local function row_of(host)
  local row = hosts[host]
  local gen = D:get(row and row.key or "h:" .. host)
  if row and row.gen == gen then return row end
  if gen then return compile(host, gen) end
  if row then hosts[host], count = nil, count - 1 end
  return nil
end

local function match(row, uri)
  local target = row.exact[uri]
  if target then return target end
  local prefix = row.prefix
  local last = #uri
  if byte(uri, last) == SLASH then last = last - 1 end
  while last > 0 do
    target = prefix[sub(uri, 1, last)]
    if target then return target end
    repeat last = last - 1 until last <= 0 or byte(uri, last + 1) == SLASH
  end
  return row.root
end

-- The most specific row decides alone, as a server block of nginx does: a path it lacks is not looked for elsewhere.
function M.find(host, uri)
  local row = row_of(host)
  if not row then
    local dot = find(host, ".", 1, true)
    row = dot and row_of("*" .. sub(host, dot)) or row_of("")
  end
  return row and match(row, uri)
end

return M
