-- The phases of a request.
local bal = require "ngx.balancer"
local balancer = require "sluice.balancer"
local counters = require "sluice.counters"
local holds = require "sluice.holds"
local router = require "sluice.router"
local settings = require "sluice.settings"
local upstreams = require "sluice.upstreams"

local ngx, now, get_method = ngx, ngx.now, ngx.req.get_method
local var = ngx.var
local floor = math.floor
local find_route, first_peer = router.find, balancer.first
local upstream_of = upstreams.of
local set_current_peer, set_more_tries, set_timeouts = bal.set_current_peer, bal.set_more_tries, bal.set_timeouts

local M = {}
local MAX_TRIES = 3
local classes = {}
for i = 1, 9 do classes[i] = "requests_" .. i .. "xx" end

-- Says what is wrong and nothing of what lies behind.
local function refuse(status, reason, text)
  ngx.status = status
  ngx.header["content-type"] = "text/plain; charset=utf-8"
  ngx.header["content-length"] = #text
  ngx.header["x-sluice-reason"] = reason
  ngx.print(text)
  return ngx.exit(status)
end

local function enter()
  local target = find_route(var.host, var.uri)
  if not target then return refuse(404, "no-route", "no route\n") end
  if target.id == "" then return refuse(503, "no-backend", "service unavailable\n") end
  local u = upstream_of(target)
  if not u or u.size == 0 then return refuse(503, "no-peers", "service unavailable\n") end
  ngx.ctx.upstream = u
  return target
end

-- Rewrite phase of the location that every request meets: the default profile is served from there.
function M.route()
  local target = enter()
  if target.profile ~= "default" then
    if not settings.profiles[target.profile] then return refuse(503, "no-backend", "service unavailable\n") end
    return ngx.exec("@profile_" .. target.profile)
  end
end

-- Rewrite phase of another profile's location. ngx.exec empties ngx.ctx, so the route is looked up once more.
function M.profile()
  ngx.ctx.profile = enter().profile
end

-- GET and HEAD may be sent twice. An upgraded or an event stream is silent for as long as it likes: never limited.
local function is_read()
  local method = get_method()
  return method == "GET" or method == "HEAD"
end

local function may_limit(u)
  if u.streams or not is_read() or var.http_upgrade then return false end
  local accept = var.http_accept
  return not accept or not accept:find("text/event-stream", 1, true)
end

local function failed(u, peer, status)
  local list = peer.list
  -- 504: it took too long, to connect or to answer. Of a whole cluster that is cut off or frozen not every peer
  -- shall cost three requests their patience.
  if status == 504 and #u.lists > 1 then
    u.struck = u.struck or {}
    u.struck[list.cluster] = true
    holds.strike(u.id, list.name, list.held, "cluster")
  end
  holds.strike(u.id, peer.name, peer.held, "peer")
end

local function retry(ctx, u, last)
  local state, status = bal.get_last_failure()
  local tried = ctx.tried or {}
  ctx.tried = tried
  tried[last.name], tried[last.cluster] = true, true
  if state == "failed" then failed(u, last, status) end
  counters.add("retries")
  u = upstreams.again(u)
  ctx.upstream = u
  -- All tried: nginx asks once more when a kept connection was closed under it, which says nothing of the peer.
  local peer = balancer.other(u, tried) or last
  local limit = ctx.limit
  if limit then
    -- The first try has spent the limit; the next ones share half of it, and whoever comes last may take its time.
    local left = limit * 1.5 - (now() - ctx.since)
    if left > 0 and balancer.elsewhere(u, peer.cluster, tried) then
      set_timeouts(nil, nil, left)
    else
      set_timeouts(nil, nil, settings.profiles[ctx.profile or "default"].readSeconds)
    end
  end
  return peer
end

function M.balance()
  local ctx = ngx.ctx
  local u, last = ctx.upstream, ctx.peer
  local peer
  if last then
    peer = retry(ctx, u, last)
  else
    peer = first_peer(u, u.trials and is_read())
    if not peer then return ngx.exit(503) end
    local size = u.size
    if size > 1 then set_more_tries((size < MAX_TRIES and size or MAX_TRIES) - 1) end
    local limit = settings.firstByteSeconds
    if limit and balancer.elsewhere(u, peer.cluster) and may_limit(u) then
      ctx.limit, ctx.since = limit, now()
      set_timeouts(nil, nil, limit)
    end
  end
  ctx.peer = peer
  local ok, err = set_current_peer(peer.address, peer.port)
  if not ok then
    ngx.log(ngx.ERR, "sluice: peer ", peer.name, ": ", err)
    return ngx.exit(502)
  end
end

local function last_time(list)
  return list and tonumber(list:match("([%d.]+)%s*$"))
end

function M.log()
  local ctx, status = ngx.ctx, ngx.status
  counters.add(classes[floor(status / 100)] or "requests_5xx")
  local peer = ctx.peer
  if not peer then return end
  local u, list = ctx.upstream, peer.list
  if status == 502 or status == 504 then
    -- The last try's failure never comes back to the balancer. A peer that answered 502 itself has sent a header.
    if not last_time(var.upstream_header_time) then failed(u, peer, status) end
  elseif status ~= 499 then
    if peer.held then holds.release(u.id, peer.name) end
    if list.held then holds.release(u.id, list.name) end
    local struck = u.struck
    if struck and struck[list.cluster] then
      struck[list.cluster] = nil
      holds.forgive(list.name)
    end
  end
  local limit = ctx.limit
  if limit and now() - ctx.since >= limit then
    local header, whole = last_time(var.upstream_header_time), last_time(var.upstream_response_time)
    if header and whole and header < limit and whole - header >= limit then holds.mark_streams(u.id) end
  end
end

return M
