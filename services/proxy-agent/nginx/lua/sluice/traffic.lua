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

-- Behind what is told, of the request that was measured last: the how manieth it was, then for each histogram the bucket
-- it fell into (0: none) and its value.
local MEASURED = PLACES + 1
local BUCKETS = MEASURED + 1
local HISTOGRAMS = 6
local VALUES = BUCKETS + HISTOGRAMS
local WHOLE = VALUES + HISTOGRAMS - 1

-- Series that a worker keeps between two flushes; what more there is counts as nobody's.
local MOST = 4000
-- All requests are counted. Times and sizes are read of the first ones in a second of one series in one worker, and of
-- one of so many after them, because reading them costs more than routing. Who is measured stands for those before it who
-- were not, and the last one for those after it too, so that a histogram has as many as there were requests.
local EXACT, EVERY = 5, 20
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

local TIME_SUM, SIZE_SUM = #TIMES + 1, #SIZES + 1
local SUMS = {
  DURATION + TIME_SUM, RESPONSE + TIME_SUM, HEADER + TIME_SUM, CONNECT + TIME_SUM, RECEIVED + SIZE_SUM, SENT + SIZE_SUM,
}

-- `nth`: which of the histograms.
local function observe(series, nth, bucket, value, weight)
  local sum = SUMS[nth]
  series[bucket] = series[bucket] + weight
  series[sum] = series[sum] + value * weight
  series[BUCKETS + nth - 1], series[VALUES + nth - 1] = bucket, value
end

local function observe_time(series, nth, at, seconds, weight)
  observe(series, nth, at + time_bucket(seconds), seconds, weight)
end

local function observe_size(series, nth, at, bytes, weight)
  observe(series, nth, at + size_bucket(bytes), bytes, weight)
end

-- Those after the one that was measured last are taken to be like it.
local function complete(series)
  local rest = series[COUNT] - series[MEASURED]
  if rest == 0 then return end
  for nth = 1, HISTOGRAMS do
    local bucket = series[BUCKETS + nth - 1]
    if bucket > 0 then observe(series, nth, bucket, series[VALUES + nth - 1], rest) end
  end
  series[MEASURED] = series[COUNT]
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
  local series = new_tab(WHOLE, 4)
  for i = 1, WHOLE do series[i] = 0 end
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
  if n > EXACT and n % EVERY ~= 0 then return end
  local weight = n - series[MEASURED]
  series[MEASURED] = n
  observe_time(series, 1, DURATION, now() - start_time(), weight)
  observe_size(series, 5, RECEIVED, tonumber(var.request_length) or 0, weight)
  observe_size(series, 6, SENT, tonumber(var.bytes_sent) or 0, weight)
  local whole = var.upstream_response_time
  -- Of several tries the last one, which has answered.
  local seconds = whole and (tonumber(whole) or last_number(whole))
  if seconds then observe_time(series, 2, RESPONSE, seconds, weight) else series[BUCKETS + 1] = 0 end
  local header = whole and var.upstream_header_time
  seconds = header and (tonumber(header) or last_number(header))
  if seconds then observe_time(series, 3, HEADER, seconds, weight) else series[BUCKETS + 2] = 0 end
  local connect = whole and var.upstream_connect_time
  seconds = connect and (tonumber(connect) or last_number(connect))
  if seconds then observe_time(series, 4, CONNECT, seconds, weight) else series[BUCKETS + 3] = 0 end
end

local function told(series)
  complete(series)
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

-- A series that is asked for again is there already: it goes only when a second has added nothing to it.
local function begin_anew(series)
  for i = 1, WHOLE do series[i] = 0 end
end

local function forget(series)
  series.labels.series[series.method][series.status] = nil
end

-- Hands over what fits. `all`: this worker ends, and nobody else would.
function M.flush(_, all)
  if count == 0 then return end
  local kept, n, full = {}, 0, false
  local texts, told_of = {}, {}
  local function hand_over()
    if #texts == 0 then return end
    full = not all and (F:llen("traffic") or 0) >= WAITING or not F:rpush("traffic", "[" .. concat(texts, ",") .. "]")
    if not full then
      for i = 1, #told_of do begin_anew(told_of[i]) end
    end
    texts, told_of = {}, {}
  end
  for i = 1, count do
    local series = active[i]
    if series[COUNT] == 0 then
      forget(series)
    else
      n = n + 1
      kept[n] = series
      if not full then
        texts[#texts + 1], told_of[#told_of + 1] = told(series), series
        if #texts == BATCH then hand_over() end
      end
    end
  end
  hand_over()
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
