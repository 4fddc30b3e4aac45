-- Rows in shared memory: validated and written here, and nowhere else.
--
--   h:<host>            generation of a host                     r:<host>          its paths, as JSON
--   g:<id>              generation of an upstream                l:<id>            its clusters, as JSON
--   p:<id>|<cluster>    that cluster's peers, as JSON            c:<cluster>       its state; "forced": drained also
--                                                                        where it is the only cluster with peers
--   x:<host>            what it says of TLS, as JSON; absent: nothing
--   o:<id>              how it treats its peers, as JSON; absent: like any other
--   y:<host>            which objects its paths come from, as JSON; absent: not known
--   rev                 counts rows; generations are taken from it and so never repeat
--   instance            made once per start of nginx; survives a reload
local cjson = require "cjson.safe"
local features = require "sluice.features"
local generations = require "sluice.generations"
local patterns = require "sluice.patterns"
local rewriting = require "sluice.rewriting"
local names = require "sluice.access_names"
local secrets = require "sluice.secrets"
local whole = require("sluice.values").is_whole

local D = ngx.shared.sluice_rows
local match, tonumber, type = string.match, tonumber, type

local M = {}

-- Bytes of shared memory that rows never take: what is there must stay changeable.
local RESERVE = 64 * 1024
local STATES = { ok = true, stale = true, down = true, drained = true }

local function put(key, value)
  -- safe_set, never set: a full dictionary must refuse the new row, not forget an old one.
  local ok, err = D:safe_set(key, value)
  if ok then return nil end
  return "shared memory: " .. err
end

local function room(bytes)
  if D:free_space() > RESERVE + bytes then return true end
  -- free_space counts whole pages only; a few bytes still fit into pages in use, which safe_set will say.
  return bytes < 4096 and D:free_space() > 0
end

local function is_ipv4(text)
  local a, b, c, d = match(text, "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
  return a and tonumber(a) < 256 and tonumber(b) < 256 and tonumber(c) < 256 and tonumber(d) < 256
end

local function is_ipv6(text)
  return #text <= 45 and match(text, "^[%x:.]+$") and match(text, ":.*:")
end

-- What set_current_peer wants: IPv6 in brackets.
local function address_of(text)
  if type(text) ~= "string" then return nil end
  if is_ipv4(text) then return text end
  if is_ipv6(text) then return "[" .. text .. "]" end
  return nil
end

local function name(value)
  return type(value) == "string" and #value > 0 and #value <= 253 and not match(value, "[%s%c|]")
end

-- A row that was written counts from here on. The number in the dictionary decides, the one in the slot says "look".
local function bump(kind, name, slots)
  local gen = generations.next()
  local problem = put(kind .. name, gen)
  if not problem then slots[generations.slot(name)] = gen end
  return problem
end

local function forget(kind, name, slots)
  D:delete(kind .. name)
  slots[generations.slot(name)] = generations.next()
end

local function bump_upstream(id)
  return bump("g:", id, generations.peers)
end

-- Tells all workers that a hold of this upstream changed.
function M.touch(id)
  generations.holds[generations.slot(id)] = generations.next()
end

local function clusters_of(id)
  local raw = D:get("l:" .. id)
  return raw and cjson.decode(raw) or {}
end

local kinds = {}

-- What an upstream's row says beside its name; nil: nothing. `slow` in seconds, `panic` in percent.
local OPTIONS = { slow = { 1, 3600 }, connections = { 1, 1000000 }, panic = { 0, 100 } }

local function options_of(row)
  local options
  for key, bounds in pairs(OPTIONS) do
    local value = row[key]
    if value ~= nil then
      if not whole(value, bounds[1], bounds[2]) then return nil, key .. " is not " .. bounds[1] .. " to " .. bounds[2] end
      options = options or {}
      options[key] = value
    end
  end
  return options
end

local function same_options(a, b)
  for key in pairs(OPTIONS) do
    if a[key] ~= b[key] then return false end
  end
  return true
end

function kinds.upstream(row)
  if not name(row.id) then return "id is no name" end
  if row.del then
    for _, cluster in ipairs(clusters_of(row.id)) do D:delete("p:" .. row.id .. "|" .. cluster) end
    D:delete("l:" .. row.id)
    D:delete("o:" .. row.id)
    forget("g:", row.id, generations.peers)
    return nil
  end
  local options, why = options_of(row)
  if why then return why end
  local there, before = D:get("g:" .. row.id), D:get("o:" .. row.id)
  if there and same_options(options or {}, before and cjson.decode(before) or {}) then return nil end
  local problem
  if options then problem = put("o:" .. row.id, cjson.encode(options)) else D:delete("o:" .. row.id) end
  return problem or not there and put("l:" .. row.id, "[]") or bump_upstream(row.id)
end

local function without(list, item)
  local kept, found = {}, false
  for _, each in ipairs(list) do
    if each == item then found = true else kept[#kept + 1] = each end
  end
  return kept, found
end

local function put_list(id, list)
  return put("l:" .. id, #list == 0 and "[]" or cjson.encode(list))
end

function kinds.peers(row)
  if not name(row.upstream) then return "upstream is no name" end
  if not name(row.cluster) then return "cluster is no name" end
  local id, key = row.upstream, "p:" .. row.upstream .. "|" .. row.cluster
  local rest, known = without(clusters_of(id), row.cluster)
  if row.del then
    if not known then return nil end
    local problem = put_list(id, rest)
    if problem then return problem end
    D:delete(key)
    return bump_upstream(id)
  end
  if type(row.peers) ~= "table" then return "peers is no list" end
  local out = {}
  for i, peer in ipairs(row.peers) do
    if type(peer) ~= "table" then return "peer " .. i .. " is no list" end
    local address = address_of(peer[1])
    if not address then return "peer " .. i .. ": not an IP address" end
    if not whole(peer[2], 1, 65535) then return "peer " .. i .. ": port is not 1 to 65535" end
    local weight = peer[3] or 1
    if not whole(weight, 1, 1000) then return "peer " .. i .. ": weight is not 1 to 1000" end
    out[i] = peer[4] == 1 and { address, peer[2], weight, 1 } or { address, peer[2], weight }
  end
  local share, rank = row.share, row.rank
  if share ~= nil and not whole(share, 0, 1000) then return "share is not 0 to 1000" end
  if rank ~= nil and not whole(rank, 0, 15) then return "rank is not 0 to 15" end
  -- Most rows are a list of peers and nothing else.
  if share or rank then out = { peers = out, share = share, rank = rank } end
  local raw = #out == 0 and not out.peers and "[]" or cjson.encode(out)
  if not room(#raw) then return "shared memory: no room for " .. #raw .. " bytes" end
  local problem = put(key, raw)
  if problem then return problem end
  if not known then
    rest[#rest + 1] = row.cluster
    problem = put_list(id, rest)
    if problem then return problem end
  end
  return bump_upstream(id)
end

-- What is wrong with the part of a path that most paths do not have; nil: nothing.
local function more_problem(more)
  if type(more) ~= "table" then return "more is no object" end
  if more.spare ~= nil and not name(more.spare) then return "spare is no name" end
  local why = more.redirect ~= nil and rewriting.redirect_problem(more.redirect) or rewriting.problem(more)
  return why or features.problem(more)
end

-- What a row says of TLS, as text; nil: nothing. Then what is wrong with it.
local function tls_text(row)
  local certificate, clients = row.certificate, row.clients
  if certificate == nil and clients == nil then return nil end
  if certificate ~= nil and not name(certificate) then return nil, "certificate is no name" end
  if clients ~= nil then
    if type(clients) ~= "table" or not name(clients.authorities) then return nil, "clients: authorities is no name" end
    if not whole(clients.depth, 0, 100) then return nil, "clients: depth is not 0 to 100" end
    clients = { authorities = clients.authorities, depth = clients.depth }
  end
  return cjson.encode { certificate = certificate, clients = clients }
end

-- Which objects the paths come from, as text; nil: not said. Then what is wrong with it.
local function owners_text(row)
  local sources, of = row.sources, row.of
  if sources == nil then return nil end
  if type(sources) ~= "table" or type(of) ~= "table" or #of ~= #row.paths then return nil, "sources do not fit the paths" end
  for _, source in ipairs(sources) do
    if type(source) ~= "table" or #source ~= 3 then return nil, "a source is no list of three" end
    for i = 1, 3 do
      if type(source[i]) ~= "string" or #source[i] > 253 then return nil, "a source names what is no name" end
    end
  end
  for _, at in ipairs(of) do
    if not sources[at] then return nil, "a path's source is not there" end
  end
  return cjson.encode { sources = sources, of = of }
end

function kinds.route(row)
  local host = row.host
  if type(host) ~= "string" or #host > 255 or match(host, "[%s%c/]") then return "host is no host name" end
  if row.del then
    D:delete("x:" .. host)
    D:delete("y:" .. host)
    D:delete("r:" .. host)
    forget("h:", host, generations.hosts)
    return nil
  end
  if type(row.paths) ~= "table" then return "paths is no list" end
  for i, path in ipairs(row.paths) do
    if type(path) ~= "table" then return "path " .. i .. " is no list" end
    local kind = path[1]
    if kind ~= "E" and kind ~= "P" and kind ~= "R" then return "path " .. i .. ": type is none of E, P and R" end
    if type(path[2]) ~= "string" or path[2]:sub(1, 1) ~= "/" then return "path " .. i .. " does not begin with /" end
    if match(path[2], "%c") then return "path " .. i .. " holds a control character" end
    if path[3] ~= "" and not name(path[3]) then return "path " .. i .. ": upstream is no name" end
    if type(path[4]) ~= "string" or not match(path[4], "^[0-9a-z]+$") then
      return "path " .. i .. ": profile is no name"
    end
    local why = path[5] ~= nil and more_problem(path[5]) or kind == "R" and patterns.problem(path[2])
    if why then return "path " .. i .. ": " .. why end
  end
  local tls, why = tls_text(row)
  if why then return why end
  local owners, wrong = owners_text(row)
  if wrong then return wrong end
  local raw = #row.paths == 0 and "[]" or cjson.encode(row.paths)
  local bytes = #raw + (tls and #tls or 0) + (owners and #owners or 0)
  if not room(bytes) then return "shared memory: no room for " .. bytes .. " bytes" end
  if not tls then D:delete("x:" .. host) end
  if not owners then D:delete("y:" .. host) end
  return tls and put("x:" .. host, tls) or owners and put("y:" .. host, owners) or put("r:" .. host, raw)
    or bump("h:", host, generations.hosts)
end

function kinds.cluster(row)
  if not name(row.cluster) then return "cluster is no name" end
  if row.del then
    D:delete("c:" .. row.cluster)
  else
    if not STATES[row.state] then return "state is none of ok, stale, down, drained" end
    local problem = put("c:" .. row.cluster, row.state == "drained" and row.forced and "forced" or row.state)
    if problem then return problem end
  end
  generations.clusters[0] = generations.next()
  return nil
end

function kinds.name(row)
  return names.apply(row)
end

function kinds.secret(row, known)
  return secrets.apply(row, known)
end

-- nil, or why the row was refused; a refused row has changed nothing that workers read. `known` rows were taken before.
function M.apply(row, known)
  if type(row) ~= "table" then return "not a row" end
  local kind = kinds[row.k]
  if not kind then return "unknown kind of row" end
  return kind(row, known)
end

-- A fresh nginx fills itself from the agent's last good copy, which is these files; after a reload the rows are still
-- there.
function M.seed(paths)
  if D:get("instance") then return end
  local rows, refused = 0, 0
  for _, path in ipairs(paths) do
    local file = io.open(path, "rb")
    for line in file and file:lines() or function() end do
      local entry = cjson.decode(line)
      if type(entry) == "table" and type(entry.row) == "table" then
        -- To read ten thousand certificates once more would take seconds.
        local problem = M.apply(entry.row, true)
        if problem then
          refused = refused + 1
          ngx.log(ngx.ERR, "sluice: last good copy: ", tostring(entry.key), ": ", problem)
        else
          rows = rows + 1
        end
      end
    end
    if file then file:close() end
  end
  D:set("instance", string.format("%d-%d", ngx.time(), ngx.worker.pid and ngx.worker.pid() or 0))
  D:set("seeded", rows)
  if rows + refused > 0 then
    ngx.log(ngx.NOTICE, "sluice: ", rows, " rows from the last good copy, ", refused, " refused")
  end
end

-- Every row that is held, named as the agent names it. Locks the dictionary once: asked for when an agent starts.
function M.keys()
  local out = {}
  for _, key in ipairs(D:get_keys(0)) do
    local kind, rest = key:sub(1, 2), key:sub(3)
    if kind == "h:" then out[#out + 1] = { k = "route", host = rest }
    elseif kind == "g:" then out[#out + 1] = { k = "upstream", id = rest }
    elseif kind == "c:" then out[#out + 1] = { k = "cluster", cluster = rest }
    elseif kind == "p:" then
      local id, cluster = match(rest, "^([^|]+)|(.+)$")
      if id then out[#out + 1] = { k = "peers", upstream = id, cluster = cluster } end
    end
  end
  for _, id in ipairs(secrets.ids()) do out[#out + 1] = { k = "secret", id = id } end
  return out
end

function M.facts()
  return {
    instance = D:get("instance"), revision = D:get("rev") or 0, seeded = D:get("seeded") or 0,
    free = D:free_space(), capacity = D:capacity(),
  }
end

return M
