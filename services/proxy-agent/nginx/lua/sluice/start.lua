-- Runs in nginx's master, at the start and at each reload; workers inherit what is loaded here.
require "resty.core"
local connections = require "sluice.connections"
local counters = require "sluice.counters"
local patterns = require "sluice.patterns"
local peer_tls = require "sluice.peer_tls"
local rows = require "sluice.rows"
local settings = require "sluice.settings"
local api = require "sluice.api"
local open = require "sluice.limits_open"
local proxy = require "sluice.proxy"
local tls = require "sluice.tls"
local traffic = require "sluice.traffic"
local workers = require "sluice.workers"

-- nginx.conf calls these as `sluice.…`: `require` in a hook would cost each request.
local M = {
  route = proxy.route, rewrite = proxy.rewrite, answer = proxy.answer,
  access = proxy.access, filter = proxy.filter, reply = proxy.reply, balance = proxy.balance, log = proxy.log,
  client_chain = peer_tls.chain, client_key = peer_tls.key,
  hello = tls.hello, certificate = tls.certificate, secure = proxy.secure, api = api.serve,
  error_page = proxy.error_page, balance_errors = proxy.balance_errors,
}

-- A worker ends: what it has counted is not lost.
function M.flush()
  counters.flush()
  traffic.flush(nil, true)
  open.exit()
end

function M.init(path)
  patterns.init()
  settings.load(path)
  workers.init()
  open.init()
  rows.seed({ settings.secrets, settings.lastGood })
end

function M.worker()
  math.randomseed(ngx.time() + ngx.worker.pid() * 1000)
  workers.enter()
  open.enter()
  counters.watch(tls.count)
  connections.reclaim()
  assert(ngx.timer.every(1, counters.flush))
  assert(ngx.timer.every(1, traffic.flush))
end

return M
