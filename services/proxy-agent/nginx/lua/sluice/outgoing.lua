-- Requests of our own that are made of a client's: to whoever is asked whether it may come in, and to whoever gets a copy.
local concat, find, ipairs, lower, match, pairs, type = table.concat, string.find, ipairs, string.lower, string.match, pairs,
  type
local ngx = ngx

local M = {}

-- Of what is known of the request; anything else is empty, as in nginx.
local VALUES = {
  args = function(var) return var.args end,
  escaped_request_uri = function(var) return ngx.escape_uri(var.request_uri) end,
  host = function(var) return var.host end,
  http_host = function(var) return var.host .. var.sluice_port end,
  remote_addr = function(var) return var.remote_addr end,
  request_method = function(var) return var.request_method end,
  request_uri = function(var) return var.request_uri end,
  scheme = function(var) return var.sluice_scheme end,
}

function M.template_problem(parts, what)
  if type(parts) ~= "table" or #parts > 64 then return what .. " is no list of parts" end
  for _, part in ipairs(parts) do
    if type(part) ~= "table" then return "a part of " .. what .. " is no object" end
    if part.variable ~= nil then
      if not VALUES[part.variable] then return what .. " has an unknown variable" end
    elseif type(part.text) ~= "string" or #part.text > 2048 or find(part.text, "[^\33-\126]") then
      return "a part of " .. what .. " is neither text nor a variable"
    end
  end
  return nil
end

-- What is wrong with where a service is; nil: nothing. `what`: who asks, for the message.
function M.service_problem(service, what)
  if type(service) ~= "table" then return what .. " is no object" end
  if type(service.host) ~= "string" or #service.host > 253 or find(service.host, "[^%w._:-]") then
    return what .. ": host is no host"
  end
  local port = service.port
  if type(port) ~= "number" or port < 1 or port > 65535 or port % 1 ~= 0 then return what .. ": port is not 1 to 65535" end
  return M.template_problem(service.target, "target")
end

-- Of a row: what access_http.lua asks.
function M.service(row)
  local plain = row.port == (row.secure and 443 or 80)
  local host = find(row.host, ":", 1, true) and "[" .. row.host .. "]" or row.host
  return {
    secure = row.secure == true, host = lower(row.host), port = row.port, target = row.target,
    authority = plain and host or host .. ":" .. string.format("%d", row.port),
  }
end

function M.fill(parts, var)
  local out = {}
  for i, part in ipairs(parts) do out[i] = part.text or VALUES[part.variable](var) or "" end
  return concat(out)
end

function M.set(names)
  local out = {}
  for name in names:gmatch("%S+") do out[name] = true end
  return out
end

-- Of the connection to us; a client that says them says nothing of what is asked of a service.
M.HOP = "connection content-length expect host http2-settings keep-alive proxy proxy-authenticate proxy-authorization "
  .. "proxy-connection te trailer transfer-encoding upgrade"

function M.add(lines, name, value)
  -- nginx has let no such value in; whoever adds one must not write a header of ours.
  if not find(value, "[%c\127]") then lines[#lines + 1] = name .. ": " .. value end
end

-- A request's first lines, with the headers that the client said but for those in `left`, by lower-case name; nil: the
-- request cannot stand in the URL.
function M.begin(method, target, host, left)
  if not match(target, "^/") or find(target, "[%c \127]") or find(host, "[%c \127]") then return nil end
  local lines = { method .. " " .. target .. " HTTP/1.1", "Host: " .. host }
  for name, value in pairs(ngx.req.get_headers(0, true)) do
    if not left[lower(name)] then
      if type(value) == "table" then
        for _, each in ipairs(value) do M.add(lines, name, each) end
      elseif type(value) == "string" then
        M.add(lines, name, value)
      end
    end
  end
  return lines
end

return M
