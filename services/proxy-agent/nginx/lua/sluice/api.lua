-- What the agent asks for, on a unix socket in a folder that is its owner's alone.
local cjson = require "cjson.safe"
local counters = require "sluice.counters"
local holds = require "sluice.holds"
local rows = require "sluice.rows"
local settings = require "sluice.settings"
local upstreams = require "sluice.upstreams"
local traffic = require "sluice.traffic"
local workers = require "sluice.workers"

local M = {}

local function say_text(status, text)
  ngx.status = status
  ngx.header["content-type"] = "application/json"
  ngx.header["content-length"] = #text
  ngx.print(text)
  return ngx.exit(ngx.HTTP_OK)
end

local function say(status, value)
  return say_text(status, cjson.encode(value) .. "\n")
end

-- An empty list is left out: this cjson would write it as {}.
local function list(items)
  return #items > 0 and items or nil
end

local function body()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if text then return text end
  local path = ngx.req.get_body_file()
  local file = path and io.open(path, "rb")
  if not file then return nil end
  text = file:read("*a")
  file:close()
  return text
end

-- POST {"expect": instance, "rows": [...]}: each row by itself; one that is refused does not keep another from counting.
-- `took`: seconds in which this worker served nobody.
local function apply()
  local text = body() or ""
  ngx.update_time()
  local began = ngx.now()
  local doc, err = cjson.decode(text)
  if type(doc) ~= "table" or type(doc.rows) ~= "table" then
    return say(400, { error = err or "rows is no list" })
  end
  local facts = rows.facts()
  -- Another nginx than the agent thinks: it must seed from the beginning, not go on in the middle.
  if doc.expect and doc.expect ~= facts.instance then return say(409, { instance = facts.instance }) end
  local refused = {}
  for i, row in ipairs(doc.rows) do
    local problem = rows.apply(row)
    if problem then refused[#refused + 1] = { i = i - 1, why = problem } end
  end
  ngx.update_time()
  facts = rows.facts()
  return say(200, { took = ngx.now() - began, instance = facts.instance, revision = facts.revision, free = facts.free, refused = list(refused) })
end

-- POST {"expect": instance, "seconds": number, "out": [[upstream, cluster, peer]…], "back": the same}: what the agent's
-- checks found. `out` holds for so many seconds; an agent that lives says it again before.
local function checks()
  local doc, err = cjson.decode(body() or "")
  if type(doc) ~= "table" or type(doc.seconds) ~= "number" or doc.seconds <= 0 then
    return say(400, { error = err or "seconds is no number" })
  end
  local facts = rows.facts()
  if doc.expect ~= facts.instance then return say(409, { instance = facts.instance }) end
  for key, out in pairs { out = true, back = false } do
    for _, each in ipairs(type(doc[key]) == "table" and doc[key] or {}) do
      local id, cluster, peer = each[1], each[2], each[3]
      holds.checked(id, cluster, peer, out, doc.seconds, upstreams.grows(id))
    end
  end
  return say(200, { instance = facts.instance })
end

local function state()
  local facts = rows.facts()
  facts.config = settings.config
  facts.worker = ngx.worker.pid()
  facts.workers = ngx.worker.count()
  facts.old = workers.old()
  facts.nginx = string.format("%d.%d.%d", ngx.config.nginx_version / 1000000, ngx.config.nginx_version / 1000 % 1000,
    ngx.config.nginx_version % 1000)
  facts.counters = counters.all()
  facts.held = list(holds.all())
  return say(200, facts)
end

-- Of all listeners; nginx tells the totals on a page alone.
local function connections()
  local page = ngx.location.capture("/stub").body
  local accepted, handled, requests = page:match("(%d+) (%d+) (%d+)")
  local active, reading, writing, waiting = page:match("connections: (%d+)"), page:match("Reading: (%d+)"),
    page:match("Writing: (%d+)"), page:match("Waiting: (%d+)")
  return say(200, {
    active = tonumber(active), reading = tonumber(reading), writing = tonumber(writing), waiting = tonumber(waiting),
    accepted = tonumber(accepted), handled = tonumber(handled), requests = tonumber(requests),
  })
end

local handlers = {
  ["POST /apply"] = apply,
  ["POST /checks"] = checks,
  ["GET /state"] = state,
  ["GET /connections"] = connections,
  -- Whoever asks has it from then on.
  ["POST /traffic"] = function() return say_text(200, traffic.take()) end,
  ["GET /keys"] = function() return say(200, { instance = rows.facts().instance, keys = list(rows.keys()) }) end,
}

function M.serve()
  local handler = handlers[ngx.req.get_method() .. " " .. ngx.var.uri]
  if not handler then return say(404, { error = "POST /apply, POST /checks, POST /traffic, GET /state or GET /keys" }) end
  return handler()
end

return M
