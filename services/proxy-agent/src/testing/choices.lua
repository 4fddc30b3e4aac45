-- Test only: makes thousands of choices with the proxy's own modules in one request to nginx, without peers that answer.
-- POST {"rows": […], "of": upstream, "balance": …, one of "times", "keys", "cookies", "other"}: see balancer-probe.ts.
local cjson = require "cjson.safe"
local balancer = require "sluice.balancer"
local choice = require "sluice.choice"
local failures = require "sluice.failures"
local holds = require "sluice.holds"
local loads = require "sluice.loads"
local policies = require "sluice.policies"
local retries = require "sluice.retries"
local rows = require "sluice.rows"
local upstreams = require "sluice.upstreams"

local M = { now = 1000 }

local function address_of(peer)
  return peer and peer.address or ""
end

local function each_peer(id, addresses, act)
  for _, address in ipairs(addresses or {}) do
    local u = upstreams.of({ id = id })
    for _, list in ipairs(u.lists) do
      for _, peer in ipairs(list.peers) do
        if peer.address == address then act(u, list, peer) end
      end
    end
  end
end

-- What happens to peers of an upstream before it is asked.
local function befall(doc)
  M.now = M.now + (doc.passed or 0)
  for _, failure in ipairs(doc.failures or {}) do
    each_peer(doc.at, { failure[1] }, function(u, list, peer)
      failures.note(u, peer, failure[2])
      if failure[3] then holds.forgive(list.name) end
    end)
  end
  for key, out in pairs { out = true, back = false } do
    each_peer(doc.at, doc[key], function(u, list, peer)
      holds.checked(u.id, list.cluster, peer.address .. ":" .. peer.port, out, 30, upstreams.grows(u.id))
    end)
  end
end

-- For each of these: so many requests come, so many seconds pass, so many of them want to be sent again. How many may.
local function spend(doc)
  local budget, granted = retries.budget(), {}
  for i, each in ipairs(doc.budget) do
    budget.requests = budget.requests + each[1]
    M.now = M.now + each[2]
    local may = 0
    for _ = 1, each[3] do if retries.take(budget) then may = may + 1 end end
    granted[i] = tostring(may)
  end
  return granted
end

local function ask(doc)
  local target = { id = doc.of }
  if doc.balance then policies.compile(doc.balance, target) end
  local policy = target.policy
  local out = {}
  local function first(state)
    local u = upstreams.of(target)
    if not policy then return balancer.first(u, true) end
    return choice.first[policy.method](u, policy, true, state)
  end
  if doc.keys then
    for i, key in ipairs(doc.keys) do
      ngx.req.set_uri_args({ key = key })
      out[i] = address_of(first())
    end
  elseif doc.cookies then
    for i, cookie in ipairs(doc.cookies) do
      ngx.req.set_header("Cookie", cookie ~= "" and cookie or nil)
      ngx.header["Set-Cookie"] = nil
      local peer = first()
      if doc.fails then
        peer = choice.other[policy.method](upstreams.of(target), policy,
          { [peer.name] = true, [peer.cluster] = true })
      end
      out[i] = { address_of(peer), ngx.header["Set-Cookie"] or "" }
    end
    ngx.header["Set-Cookie"] = nil
  else
    -- So many requests are in hand at any time; what a peer takes until its first byte is given, in seconds.
    local open, seconds, frozen = {}, doc.seconds or {}, {}
    for _, address in ipairs(doc.frozen or {}) do frozen[address] = true end
    for i = 1, doc.times do
      local state = {}
      M.now = M.now + (doc.tick or 0)
      local address = address_of(first(state))
      out[i] = address
      if state.load and not frozen[address] then
        open[#open + 1] = { state = state, address = address }
        if #open > (doc.open or 0) then
          local done = table.remove(open, 1)
          loads.finish(done.state, seconds[done.address] or 0.001)
        end
      end
    end
    for _, each in ipairs(open) do loads.finish(each.state, seconds[each.address] or 0.001) end
  end
  return out
end

function M.serve()
  ngx.req.read_body()
  local doc = assert(cjson.decode(ngx.req.get_body_data()))
  local out = {}
  for i, step in ipairs(doc) do
    for _, row in ipairs(step.rows or {}) do
      local problem = rows.apply(row)
      if problem then error(problem) end
    end
    befall(step)
    out[i] = step.of and ask(step) or step.budget and spend(step) or {}
    if #out[i] == 0 then out[i] = cjson.null end
  end
  ngx.header["content-type"] = "application/json"
  ngx.print(cjson.encode(out))
end

return M
