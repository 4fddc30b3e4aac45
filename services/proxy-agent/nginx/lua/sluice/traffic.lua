-- What requests of each route come to: counts and histograms that a worker keeps by method and status, and hands over
-- once a second in a list of shared memory, from which the agent takes them. A request costs additions to numbers that
-- are there already. While nobody takes them a worker keeps its own, bounded, and loses nothing but the telling apart.
local base = require "resty.core.base"
local cjson = require "cjson.safe"
local utf8 = require("sluice.access_log").utf8
local last_number = require("sluice.values").last_number

local F = ngx.shared.sluice_holds
local now, start_time, get_method = ngx.now, ngx.req.start_time, ngx.req.get_method
local new_tab = base.new_tab
local ceil, concat, format, tonumber = math.ceil, table.concat, string.format, tonumber

local M = {}

-- Upper bounds of buckets, those of ingress-nginx: seconds, and bytes. Above the last one: one bucket more.
local TIMES = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local SIZES = { 10, 20, 30, 40, 50, 60, 70, 80, 90, 100 }

-- Places of a series: how many requests, then a histogram after the other, each with its sum at the end.
local COUNT = 1
local DURATION = 2
local RESPONSE = DURATION + #TIMES + 2
local HEADER = RESPONSE + #TIMES + 2
local CONNECT = HEADER + #TIMES + 2
local RECEIVED = CONNECT + #TIMES + 2
local SENT = RECEIVED + #SIZES + 2
local PLACES = SENT + #SIZES + 1
M.PLACES = PLACES

-- Series that a worker keeps between two flushes; what more there is counts as nobody's.
local MOST = 4000
-- All requests are counted. Times and sizes are read of as many a second of one series in one worker; of those above it
-- one stands for so many, because reading them costs more than routing.
local EXACT, EVERY = 20, 10
-- Series in one entry of the list, and entries that wait there.
local BATCH, WAITING = 50, 64

local METHODS = {}
for name in ("GET HEAD POST PUT DELETE PATCH OPTIONS"):gmatch("%S+") do METHODS[name] = name end

local active, count = {}, 0
local others = { host = "other", path = "other", namespace = "other", ingress = "other", service = "other", canary = "" }

-- Places behind the first bucket. By comparisons and not by a loop, which LuaJIT would not make part of a request's
-- trace.
local function time_bucket(seconds)
  if seconds <= 0.1 then
    if seconds <= 0.005 then return 0 end
    if seconds <= 0.01 then return 1 end
    if seconds <= 0.025 then return 2 end
    return seconds <= 0.05 and 3 or 4
  end
  if seconds <= 1 then
    if seconds <= 0.25 then return 5 end
    return seconds <= 0.5 and 6 or 7
  end
  if seconds <= 2.5 then return 8 end
  if seconds <= 5 then return 9 end
  return seconds <= 10 and 10 or 11
end

local function size_bucket(bytes)
  if bytes > 100 then return 10 end
  return bytes <= 10 and 0 or ceil(bytes / 10) - 1
end

local function observe(series, at, bucket, last, value, weight)
  local i, sum = at + bucket, at + last
  series[i] = series[i] + weight
  series[sum] = series[sum] + value * weight
end

local TIME_SUM, SIZE_SUM = #TIMES + 1, #SIZES + 1

local function observe_time(series, at, seconds, weight)
  observe(series, at, time_bucket(seconds), TIME_SUM, seconds, weight)
end

local function observe_size(series, at, bytes, weight)
  observe(series, at, size_bucket(bytes), SIZE_SUM, bytes, weight)
end

local function made(labels, method, status)
  if count >= MOST and labels ~= others then return nil end
  local by_method = labels.series
  if not by_method then
    by_method = {}
    labels.series = by_method
  end
  local by_status = by_method[method]
  if not by_status then
    by_status = {}
    by_method[method] = by_status
  end
  local series = new_tab(PLACES, 4)
  for i = 1, PLACES do series[i] = 0 end
  series.labels, series.method, series.status = labels, method, status
  by_status[status] = series
  count = count + 1
  active[count] = series
  return series
end

local function series_of(labels, method, status)
  local by_method = labels.series
  local by_status = by_method and by_method[method]
  return by_status and by_status[status]
end

-- A request that has ended. `labels`: of its route.
function M.count(labels, var, status)
  local method = METHODS[get_method()] or "other"
  if status < 100 or status > 599 then status = 0 end
  local series = series_of(labels, method, status) or made(labels, method, status)
    or series_of(others, method, status) or made(others, method, status)
  local n = series[COUNT] + 1
  series[COUNT] = n
  local weight = 1
  if n > EXACT then
    if n % EVERY ~= 0 then return end
    weight = EVERY
  end
  observe_time(series, DURATION, now() - start_time(), weight)
  observe_size(series, RECEIVED, tonumber(var.request_length) or 0, weight)
  observe_size(series, SENT, tonumber(var.bytes_sent) or 0, weight)
  local whole = var.upstream_response_time
  if not whole then return end
  -- Of several tries the last one, which has answered.
  local seconds = tonumber(whole) or last_number(whole)
  if seconds then observe_time(series, RESPONSE, seconds, weight) end
  local header = var.upstream_header_time
  seconds = tonumber(header) or last_number(header)
  if seconds then observe_time(series, HEADER, seconds, weight) end
  local connect = var.upstream_connect_time
  seconds = tonumber(connect) or last_number(connect)
  if seconds then observe_time(series, CONNECT, seconds, weight) end
end

local function told(series)
  local numbers = {}
  for i = 1, PLACES do
    local value = series[i]
    numbers[i] = value % 1 == 0 and format("%d", value) or format("%.3f", value)
  end
  local of = series.labels
  local labels = cjson.encode {
    host = of.host, path = utf8(of.path), namespace = of.namespace, ingress = of.ingress, service = of.service,
    canary = of.canary, method = series.method, status = series.status,
  }
  return format('{"labels":%s,"values":[%s]}', labels, concat(numbers, ","))
end

local function forget(series)
  series.labels.series[series.method][series.status] = nil
end

-- Hands over what fits. `all`: this worker ends, and nobody else would.
function M.flush(_, all)
  if count == 0 then return end
  local first = 1
  while first <= count do
    if not all and (F:llen("traffic") or 0) >= WAITING then break end
    local texts, last = {}, math.min(first + BATCH - 1, count)
    for i = first, last do texts[#texts + 1] = told(active[i]) end
    if not F:rpush("traffic", "[" .. concat(texts, ",") .. "]") then break end
    for i = first, last do forget(active[i]) end
    first = last + 1
  end
  local kept, n = {}, 0
  for i = first, count do
    n = n + 1
    kept[n] = active[i]
  end
  active, count = kept, n
end

-- All that waits, as the text of a JSON list of lists; whoever asks has it from here on.
function M.take()
  M.flush()
  local out = {}
  for i = 1, WAITING do
    local text = F:lpop("traffic")
    if not text then break end
    out[i] = text
  end
  return "[" .. concat(out, ",") .. "]"
end

return M
