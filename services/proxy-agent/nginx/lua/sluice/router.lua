-- host -> exact path, first regular expression, longest prefix -> target. Each worker keeps the hosts that it was asked for; one read of the
-- host's generation tells whether what it keeps still holds.
local cjson = require "cjson.safe"

local features = require "sluice.features"
local generations = require "sluice.generations"
local patterns = require "sluice.patterns"
local rewriting = require "sluice.rewriting"

local D = ngx.shared.sluice_rows
local slots = generations.hosts
local find, sub, byte = string.find, string.sub, string.byte
local SLASH, STAR, DOT = byte("/"), byte("*"), byte(".")

local M = {}

-- Hosts kept per worker. Rows are bounded by the agent; this only bounds what hosts that are gone leave behind.
local LIMIT = 100000
local hosts, count = {}, 0

-- What its requests are counted and logged under. `source`: namespace and name of the object, and the service.
local function labels_of(host, path, source)
  return {
    host = host == "" and "_" or host, path = path[2], namespace = source[1] or "", ingress = source[2] or "",
    service = source[3] or path[3], canary = "",
  }
end

local NOBODY = {}

local function target_of(host, path, source)
  local target = { id = path[3], profile = path[4], path = path[2], labels = labels_of(host, path, source or NOBODY) }
  local more = path[5]
  if more then
    local pattern = path[1] == "R" and patterns.compile(path[2]) or nil
    target.pattern = pattern
    target.redirect = more.redirect and rewriting.compile_redirect(pattern, more.redirect)
    target.rewriting = rewriting.compile(pattern, more)
    target.spare = more.spare and { id = more.spare }
    features.compile(more, target)
    local side = target.fork and target.fork.canary
    if side then
      side.labels = labels_of(host, path, source or NOBODY)
      side.labels.canary = side.id
    end
  elseif path[1] == "R" then
    target.pattern = patterns.compile(path[2])
  end
  return target
end

local function compile(host, slot, seen, gen)
  local raw = D:get("r:" .. host)
  local paths = raw and cjson.decode(raw)
  if not paths then return nil end
  local row = { slot = slot, seen = seen, gen = gen, exact = {}, prefix = {} }
  local tls = cjson.decode(D:get("x:" .. host) or "{}")
  -- The default certificate is nobody's own.
  row.certified = host ~= "" and tls.certificate ~= nil
  local owners = cjson.decode(D:get("y:" .. host) or "{}")
  local sources, of = owners.sources or NOBODY, owners.of or NOBODY
  for i, path in ipairs(paths) do
    local text, source = path[2], sources[of[i]]
    if path[1] == "E" then
      row.exact[text] = row.exact[text] or target_of(host, path, source)
    elseif path[1] == "R" then
      row.regexes = row.regexes or {}
      row.regexes[#row.regexes + 1] = target_of(host, path, source)
    else
      -- By path element: /foo and /foo/ are one prefix; where both are given the longer text wins.
      local element = text
      while byte(element, -1) == SLASH do element = sub(element, 1, -2) end
      local other = row.prefix[element]
      if not other or #other.path < #text then row.prefix[element] = target_of(host, path, source) end
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

-- Something in the row's slot changed, or the host was not asked for before.
local function look(host, row)
  local slot = row and row.slot or generations.slot(host)
  local seen = slots[slot] -- before the rows
  local gen = D:get("h:" .. host)
  if row and row.gen == gen then
    row.seen = seen
    return row
  end
  if gen then return compile(host, slot, seen, gen) end
  if row then hosts[host], count = nil, count - 1 end
  return nil
end

-- The row of exactly this host, or nil.
local function row_of(host)
  local row = hosts[host]
  if row and slots[row.slot] == row.seen then return row end
  return look(host, row)
end

-- The loop over path elements is what LuaJIT cannot make part of a request's trace, so its answers are kept: all rows
-- of a worker share MEMO answers, and when that many are kept, all begin anew.
local MEMO, MEMO_URI = 20000, 256
local epoch, kept = 0, 0

local function longest(row, uri)
  local prefix = row.prefix
  local last = #uri
  if byte(uri, last) == SLASH then last = last - 1 end
  while last > 0 do
    local target = prefix[sub(uri, 1, last)]
    if target then return target end
    repeat last = last - 1 until last <= 0 or byte(uri, last + 1) == SLASH
  end
  return row.root
end

-- The first that matches; or nil and why nobody can tell: then the others are not asked, since what an expression
-- guards must not fall to the next, nor a request cost more than one of them.
local function first_regex(row, uri)
  for _, target in ipairs(row.regexes) do
    local matches, why = patterns.matches(target.pattern, uri)
    if matches then return target end
    if why then
      if not target.told then
        target.told = true
        ngx.log(ngx.WARN, "sluice: regular expression ", target.path, " gave up: ", why)
      end
      return nil, "regex-limit"
    end
  end
  return nil
end

local function match(row, uri)
  local memo = row.memo
  if row.epoch ~= epoch then
    memo = {}
    row.memo, row.epoch = memo, epoch
  end
  local target = memo[uri]
  if target ~= nil then return target or nil end
  target = row.exact[uri]
  if not target and row.regexes then
    local why
    target, why = first_regex(row, uri)
    if why then return nil, why end
  end
  target = target or longest(row, uri)
  if #uri <= MEMO_URI then
    kept = kept + 1
    if kept > MEMO then epoch, kept = epoch + 1, 0 end
    memo[uri] = target or false
  end
  return target
end

-- The most specific row decides alone, as a server block of nginx does: a path it lacks is not looked for elsewhere.
local function most_specific(host)
  local first = byte(host)
  -- Rows of wildcards are called *.x: no request names one. Nor is nothing a label.
  local named = first ~= STAR and first ~= DOT
  local row = named and row_of(host)
  if not row then
    local dot = named and find(host, ".", 1, true)
    row = dot and row_of("*" .. sub(host, dot)) or row_of("")
  end
  return row
end

-- The target, or nil, and a reason if it is another than that there is none.
function M.find(host, uri)
  local row = most_specific(host)
  if not row then return nil end
  return match(row, uri)
end

-- Whether a host has a certificate of its own.
function M.certified(host)
  local row = most_specific(host)
  return row ~= nil and row.certified
end

return M
