-- The phases of a request. The way of an ordinary request allocates nothing: what only a retry, a trial or a limit
-- needs is made for those alone (`live`), and ngx.ctx, which costs every request a table and a cleanup, is not used.
local bal = require "ngx.balancer"
local base = require "resty.core.base"
local access_log = require "sluice.access_log"
local balancer = require "sluice.balancer"
local canary = require "sluice.canary"
local choice = require "sluice.choice"
local connections = require "sluice.connections"
local counters = require "sluice.counters"
local errors = require "sluice.errors"
local failures = require "sluice.failures"
local ffi = require "ffi"
local holds = require "sluice.holds"
local loads = require "sluice.loads"
local mirror = require "sluice.mirror"
local retries = require "sluice.retries"
local rewriting = require "sluice.rewriting"
local router = require "sluice.router"
local settings = require "sluice.settings"
local traffic = require "sluice.traffic"
local upstreams = require "sluice.upstreams"
local workers = require "sluice.workers"
local last_number = require("sluice.values").last_number

local ngx, now, get_method = ngx, ngx.now, ngx.req.get_method
local var = ngx.var
local tonumber, cast = tonumber, ffi.cast
local find, gsub = string.find, string.gsub
local uintptr = ffi.typeof "uintptr_t"
local get_request, start_time = base.get_request, ngx.req.start_time
local find_route, first_peer = router.find, balancer.first
local upstream_of, again = upstreams.of, upstreams.again
local set_current_peer, set_more_tries, set_timeouts = bal.set_current_peer, bal.set_more_tries, bal.set_timeouts
local get_last_failure = bal.get_last_failure
local count_status, count = counters.status, counters.add
local count_request, note_request = traffic.count, access_log.note

local M = {}

-- What is answered where nothing can be asked: it says what is wrong and nothing of what lies behind.
local answers = {
  ["no-route"] = { 404, "no route\n" },
  ["no-backend"] = { 503, "service unavailable\n" },
  ["no-peers"] = { 503, "service unavailable\n" },
  ["too-large"] = { 413, "request body too large\n" },
  ["client-certificate"] = { 400, "a client certificate that is trusted here is required\n" },
  ["tls-required"] = { 403, "a client certificate is required: use https\n" },
  -- Of another host's connection: clients ask again on one of its own (RFC 9110 15.5.20).
  ["misdirected"] = { 421, "ask on a connection of this host's own\n" },
  ["no-authorities"] = { 503, "service unavailable\n" },
  ["forbidden"] = { 403, "forbidden\n" },
  ["unauthorized"] = { 401, "unauthorized\n" },
  -- Who would know whether this request may come in does not say.
  ["auth-failed"] = { 500, "internal server error\n" },
  ["no-users"] = { 503, "service unavailable\n" },
  ["passwords-busy"] = { 503, "service unavailable\n" },
  ["too-many-requests"] = { 503, "service unavailable\n" },
  ["too-many-connections"] = { 503, "service unavailable\n" },
  ["regex-limit"] = { 500, "internal server error\n" },
}

-- Who is asked where new requests find nobody in a route's own upstream. `u`: that upstream, if there is one.
local function stand_in(target, u, reason)
  local spare = target.spare and upstream_of(target.spare)
  if spare and spare.count > 0 then return spare, target end
  -- All peers are out by order: sessions that they have may go on. Who answers the others could not know a request
  -- that has been rewritten.
  if u and u.size > 0 and (target.policy or not target.rewriting) then return u, target end
  return nil, reason
end

-- The scheme that the client used: where the balancer has sent the request to this server, a header of ours says it.
local function scheme_of()
  return find(var.server_addr, "^unix:") and var.http_x_forwarded_proto or var.sluice_scheme
end

-- State of requests that need more than one look, by the address of nginx's request; the log phase ends it.
local live, live_count = {}, 0

-- Who was asked by which request: the log phase need not find it again, and ends it.
local asked_target, asked_peer = {}, {}

local function this_request()
  return tonumber(cast(uintptr, get_request()))
end

local function state_of(request)
  local state = live[request]
  if not state then
    state = {}
    live[request], live_count = state, live_count + 1
  end
  return state
end

-- The side of a path with a canary: decided once a request, so that its next tries stay there and its log line finds it
-- (`canary`: that upstream, or false). A canary without peers takes none.
local function side_of(fork, passing)
  local state = not passing and state_of(this_request())
  local taken = state and state.canary
  if not state or taken == nil then taken = canary.takes(fork, var) end
  local side = taken and fork.canary
  local u = side and upstream_of(side)
  if not u or u.count == 0 then side = nil end
  if state and state.canary == nil then state.canary = side and side.id or false end
  return side or fork.main
end

-- The upstream and the target of this request, or nil and the reason why there is none. `passing`: it is one that nginx
-- sent here itself, and has no log phase.
local function enter(passing)
  local target, why = find_route(var.host, var.uri)
  if not target then return nil, why or "no-route" end
  if target.https_only and var.https ~= "on" and scheme_of() ~= "https" then return nil, "https" end
  if target.id == "" then
    if target.redirect then return nil, "redirect" end
    local fork = target.fork
    if not fork then return stand_in(target, nil, "no-backend") end
    target = side_of(fork, passing)
  end
  local u = upstream_of(target)
  if not u or u.count == 0 then return stand_in(target, u, "no-peers") end
  return u, target
end

-- From the rewrite phase to the balancer: mostly the same request comes next. What was found for one that waits meanwhile
-- (for its body, for a service that is asked) is kept until its log phase: who may come in, what the peer is asked for
-- and who that is are one view of its route, whatever changes.
local last_request, last_upstream, last_target = 0, nil, nil
local waiting, waiting_count = {}, 0

local function keep_last()
  if not waiting[last_request] then waiting_count = waiting_count + 1 end
  waiting[last_request] = { target = last_target, upstream = last_upstream }
end

-- The target of this request, or nil and why there is none; of one that came through `route`, as it was found there.
local function target_of(request)
  if request == last_request then return last_target end
  local kept = waiting[request]
  if kept then return kept.target end
  local target = asked_target[request]
  if target then return target end
  return find_route(var.host, var.uri)
end

-- Where a request goes on that was sent before, or has waited; nil: it is new, or nobody is left there.
local function goes_on(request)
  local target, u = asked_target[request], nil
  if target then
    local of = asked_peer[request].list.id == target.id and target or target.spare
    u = of and upstream_of(of)
  else
    local kept = waiting[request]
    if not kept then return nil end
    target, u = kept.target, again(kept.upstream)
  end
  if u and u.count > 0 then return u, target end
  return nil
end

-- Where a request goes that the main location is not made for.
local function elsewhere(name, secure)
  local profile = settings.profiles[name]
  if not profile then return "no-backend" end
  local length
  if profile.maxBody > 0 then
    length = tonumber(var.content_length)
    if length and length > profile.maxBody then return "too-large" end
  end
  -- A body without a length is measured while it is read, by the limit of the location that reads it.
  if name == "default" and not var.http_transfer_encoding and (length or not secure or var.http2 == "") then return "" end
  return "@profile_" .. name
end

-- Only where there are other profiles than the default one: set_by_lua of the location that every request meets. "" for
-- going on, else what `answer` shall do. Not rewrite_by_lua, which makes a coroutine per request.
function M.route(secure)
  local u, more = enter()
  if not u then return more end
  local request = this_request()
  if last_request ~= 0 and last_request ~= request then keep_last() end
  last_request, last_upstream, last_target = request, u, more
  local profile = more.profile
  if profile == "default" and not settings.measures then return "" end
  return elsewhere(profile, secure)
end

local function say(reason)
  local answer = answers[reason]
  ngx.status = answer[1]
  ngx.header["content-type"] = "text/plain; charset=utf-8"
  ngx.header["content-length"] = #answer[2]
  ngx.header["x-sluice-reason"] = reason
  ngx.print(answer[2])
  return ngx.exit(answer[1])
end

-- A status and nothing more: what a peer said beside it is gone.
local function bare(code)
  ngx.status = code
  ngx.header["content-type"] = "text/plain; charset=utf-8"
  ngx.header["x-sluice-reason"] = "error-page"
  ngx.print(code, "\n")
  return ngx.exit(code)
end

local function send_to(code, location)
  ngx.status = code
  ngx.header["location"] = location
  ngx.header["content-length"] = 0
  ngx.header["x-sluice-reason"] = "redirect"
  ngx.send_headers()
  return ngx.exit(code)
end

-- As in ingress-nginx a closing slash gets lost.
local function to_https()
  return send_to(308, "https://" .. var.host .. settings.httpsPort .. gsub(var.request_uri, "/$", ""))
end

-- A path leads to the host that was asked for.
local function redirect()
  local target, why = find_route(var.host, var.uri)
  local to = target and target.redirect
  if not to then return say(why or "no-route") end
  return send_to(to.code, rewriting.target(to, var, scheme_of(), var.host .. var.sluice_port))
end

local AS_IT_CAME = {}

-- In a location whose profile rewrites: what the peer is asked for. Set as variables, because the headers of a request
-- to a peer are made before a peer is chosen.
function M.rewrite()
  local target = target_of(this_request())
  local changes = target and target.rewriting or AS_IT_CAME
  local uri, prefix = rewriting.request(changes, var)
  if changes.vhost then var.sluice_vhost = changes.vhost end
  if prefix then var.sluice_prefix = prefix end
  return uri
end

-- In locations that guard: who may come in, and who gets a copy of it.
function M.access()
  local request = this_request()
  local target, why = target_of(request)
  if not target then return say(why or "no-route") end
  local guards = target.guards
  if guards then
    local state = state_of(request)
    for i = 1, #guards do
      local guard = guards[i]
      local reason = guard.check(guard, var, state)
      if reason then return say(reason) end
    end
    state.passed = true
  end
  if target.mirror then mirror.copy(target.mirror, var) end
end

-- Answers over TLS: browsers are told to stay there, where the host has a certificate that they can trust.
function M.secure()
  local hsts = settings.hsts
  if hsts and router.certified(var.host) then ngx.header["strict-transport-security"] = hsts end
end

-- In locations that filter: what becomes of the header of an answer.
function M.filter()
  local request = this_request()
  local target = target_of(request)
  local filters = target and target.filters
  if not filters then return end
  local state = live[request]
  for i = 1, #filters do
    local filter = filters[i]
    filter.apply(filter, var, state)
  end
end

-- A route may have got its guards since this request was sent to a location that has none: it is not let in, unless it
-- began before any location had some. (Such a worker keeps no routes of requests that wait.)
local function unguarded(request)
  local state = live[request]
  if state and state.passed then return false end
  return not (settings.alone and workers.followed_since(start_time()))
end

-- Content of the location that is entered when `route` had something to say.
function M.answer()
  local what = var.sluice_answer
  if what == "redirect" then return redirect() end
  if what == "https" then return to_https() end
  if answers[what] then return say(what) end
  return ngx.exec(what)
end

-- A request that the balancer found no peer for: a balancer can choose a peer but not an answer, so it chooses this
-- server, which looks for the reason once more.
function M.reply()
  -- It was sent here for nobody else to answer an error; clients cannot say this header.
  local code = var.http_x_sluice_code
  if code then return bare(tonumber(code)) end
  local u, reason = enter(true)
  if reason == "redirect" then return redirect() end
  if reason == "https" then return to_https() end
  return say(u and "no-peers" or reason)
end

-- GET and HEAD may be sent twice.
local function is_read()
  local method = get_method()
  return method == "GET" or method == "HEAD"
end

-- An upgraded connection or an event stream is silent for as long as it likes: never limited.
local function may_limit(u)
  if u.streams or not is_read() or var.http_upgrade then return false end
  local accept = var.http_accept
  return not accept or not accept:find("text/event-stream", 1, true)
end

local function profile_of(name)
  return settings.profiles[name] or settings.profiles.default
end

local function read_seconds(u)
  local target = find_route(var.host, var.uri)
  return profile_of(target and (target.fork or target.id == u.id) and target.profile).readSeconds
end

-- The peer that nginx tried last.
local function last_peer(u)
  local last
  -- While a next try is being made its place in the list is still empty: "10.0.0.1:80 : ".
  for address in (var.upstream_addr or ""):gmatch("[^ ,]+") do
    if address ~= ":" then last = address end
  end
  return last and balancer.named(u, last)
end

local function other_peer(u, target, tried, state)
  local policy = target.policy
  if policy then return choice.other[policy.method](u, policy, tried, state) end
  return balancer.other(u, tried)
end

local function has_body()
  local length = var.content_length
  if length and length ~= "" then return length ~= "0" end
  if var.http_transfer_encoding then return true end
  -- HTTP/2 needs no length.
  return var.server_protocol == "HTTP/2.0" and not is_read()
end

-- A body that a peer has had part of is not sent to another.
local function was_sent()
  for bytes in (var.upstream_bytes_sent or ""):gmatch("%d+") do
    if bytes ~= "0" then return has_body() end
  end
  return false
end

-- Within what its upstream may limit: another peer, where this one is full.
local function admitted(u, peer, state)
  local found = connections.admit(u, peer, state)
  if found and found ~= peer and state.load then loads.begin(state, found) end
  return found
end

-- nil: there is none; false: this request may not be sent again.
local function retry(u, target, request, failure, status)
  local state = state_of(request)
  local last = state.peer or last_peer(u)
  local tried = state.tried or {}
  state.tried = tried
  if last then
    tried[last.name], tried[last.cluster] = true, true
    if failure == "failed" then failures.note(u, last, status) end
    u = again(u) or u
  end
  if was_sent() and not profile_of(target.profile).replays or not retries.take(u.budget) then
    count("retries_refused")
    state.given_up = true
    return false
  end
  count("retries")
  -- All tried: nginx asks once more when a kept connection was closed under it, which says nothing of the peer.
  local peer = other_peer(u, target, tried, state) or last or first_peer(u, true)
  if peer and u.connections then peer = admitted(u, peer, state) end
  local limit = state.limit
  if limit and peer then
    -- The first try has spent the limit; the next ones share half of it, and whoever comes last may take its time.
    local left = limit * 1.5 - (now() - state.since)
    if left > 0 and balancer.elsewhere(u, peer.cluster, tried) then
      set_timeouts(nil, nil, left)
    else
      set_timeouts(nil, nil, read_seconds(u))
    end
  end
  state.peer = peer
  return peer
end

-- Seconds that the trial of a peer may take where no first-byte limit is set: it failed before, and others wait.
local TRIAL = 3

-- The first-byte limit of a first try, or nil. Nothing is cut short without a better place to go.
local function limit_of(u, peer, target)
  local limit = target.first_byte
  if limit == nil then limit = settings.firstByteSeconds end
  if not u.healthy then return nil end
  if peer.held or peer.list.held then return limit or TRIAL end
  return limit and balancer.elsewhere(u, peer.cluster) and limit or nil
end

-- First tries that somebody has to look back at: of a peer on hold, and with a first-byte limit.
local function note(u, peer, request, profile, target)
  local limit = profile.retries and limit_of(u, peer, target)
  if limit and may_limit(u) then
    local state = state_of(request)
    state.peer, state.limit, state.since = peer, limit, now()
    set_timeouts(nil, nil, limit)
  elseif u.watched then
    state_of(request).peer = peer
  end
end

local function chosen(u, policy, request)
  local method = policy.method
  return choice.first[method](u, policy, u.trials and is_read(), choice.measures[method] and state_of(request))
end

-- nginx's own word for "no peer is left": the answer is 502.
local BUSY = -3

function M.balance()
  local request = this_request()
  local u, target
  if request == last_request then
    u, target, last_request = again(last_upstream), last_target, 0
  else
    u, target = goes_on(request)
  end
  if not u then
    u, target = enter()
    if not u then return set_current_peer(settings.replies) end
  end
  if target.guards and unguarded(request) then return ngx.exit(503) end
  local peer
  local failure, status = get_last_failure()
  if failure then
    peer = retry(u, target, request, failure, status)
    if peer == false then return ngx.exit(BUSY) end
  else
    local budget = u.budget
    budget.requests = budget.requests + 1
    local policy = target.policy
    if policy then
      peer = chosen(u, policy, request)
    else
      peer = first_peer(u, u.trials and is_read())
    end
    if peer and u.connections then peer = admitted(u, peer, state_of(request)) end
    if peer then
      local size, profile = u.usable, profile_of(target.profile)
      -- The session of a peer that is out for all others.
      if policy and peer.list.usable ~= peer.list.peers then size = size + 1 end
      local tries = profile.tries
      if size > 1 then set_more_tries((size < tries and size or tries) - 1) end
      if u.watched or settings.firstByteSeconds or target.first_byte then note(u, peer, request, profile, target) end
    end
  end
  if not peer then
    -- This server would look for the route of what the request has become. (Where a balancer can set no status, 500.)
    if profile_of(target.profile).rewrites then return ngx.exit(503) end
    return set_current_peer(settings.replies)
  end
  asked_target[request], asked_peer[request] = target, peer
  local ok, err = set_current_peer(peer.address, peer.port)
  if not ok then
    ngx.log(ngx.ERR, "sluice: peer ", peer.name, ": ", err)
    return ngx.exit(502)
  end
end

-- The last try's failure never comes back to the balancer. A peer that answered 502 itself has sent a header.
local function last_failed(state, status)
  local address = var.upstream_addr
  if not address or state and state.given_up or last_number(var.upstream_header_time) then return end
  local u = enter()
  local peer = u and (state and state.peer or last_peer(u))
  if peer then failures.note(u, peer, status) end
end

-- In the locations that answer errors: what is asked for instead.
function M.error_page()
  local request = this_request()
  local code = tonumber(var.sluice_error_code)
  -- By the end it will be the status of another answer.
  if code == 502 or code == 504 then last_failed(live[request], code) end
  local target = asked_target[request] or find_route(var.host, var.uri)
  if target then errors.tell(target, var) end
  return "/"
end

function M.balance_errors()
  local target = asked_target[this_request()] or find_route(var.host, var.uri)
  local spare = target and target.spare
  local u = spare and upstream_of(spare)
  local peer = u and u.count > 0 and first_peer(u, true)
  if not peer then return set_current_peer(settings.replies) end
  if not get_last_failure() and u.usable > 1 then set_more_tries(1) end
  return set_current_peer(peer.address, peer.port)
end

local function answered(state)
  local peer = state.peer
  if not peer then return end
  local list = peer.list
  local id, struck = list.id, upstreams.struck(list.id)
  if peer.held then holds.release(id, peer.name) end
  if list.held then holds.release(id, list.name) end
  if struck and struck[list.cluster] then
    struck[list.cluster] = nil
    if not next(struck) then upstreams.calm(id) end
    holds.forgive(list.name)
  end
  local limit = state.limit
  if limit and now() - state.since >= limit then
    local header, whole = last_number(var.upstream_header_time), last_number(var.upstream_response_time)
    if header and whole and header < limit and whole - header >= limit then holds.mark_streams(id) end
  end
end

-- Seconds to the first byte of the last try; nil: it had none.
local function measured(state, status)
  local failed_last = status == 502 or status == 504
  loads.finish(state, not failed_last and last_number(var.upstream_header_time) or nil)
end

-- What was refused before it had a host or a path is nobody's.
local function route_of()
  local host, uri = var.host, var.uri
  if not host or host == "" or not uri then return nil end
  return (find_route(host, uri))
end

local function tell(request, status)
  local target, peer = asked_target[request], asked_peer[request]
  if target then
    asked_target[request], asked_peer[request] = nil, nil
  else
    target = route_of()
  end
  if target then count_request(target.labels, var, status) end
  if settings.accessLog then note_request(var, target, peer) end
end

function M.log()
  local status = ngx.status
  count_status(status)
  local request = this_request()
  if request == last_request then last_request = 0 end
  if waiting_count > 0 and waiting[request] then waiting[request], waiting_count = nil, waiting_count - 1 end
  tell(request, status)
  if live_count == 0 and status < 502 then return end
  local state = live[request]
  if status == 502 or status == 504 then
    last_failed(state, status)
  elseif state and status ~= 499 then
    answered(state)
  end
  if state and state.load then measured(state, status) end
  if state and state.ended then state.ended(state) end
  if state and state.connection then connections.release(state) end
  if state then live[request], live_count = nil, live_count - 1 end
end

return M
