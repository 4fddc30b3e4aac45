-- Who may come in: as nginx's access phase judges it, first by address, then by password, then by a service that is asked.
local ask = require "sluice.access_request"
local phases = require "sluice.phases"
local ranges = require "sluice.access_ranges"
local users = require "sluice.access_users"

local type = type

local M = {}

local function users_problem(given)
  if given == nil then return nil end
  if type(given) ~= "table" or type(given.secret) ~= "string" then return "users have no secret" end
  if type(given.realm) ~= "string" or #given.realm > 256 or given.realm:find('[%c"\\\128-\255]') then
    return "realm is no quoted text"
  end
  return nil
end

-- What is wrong with it; nil: nothing.
function M.problem(access)
  if type(access) ~= "table" then return "access is no object" end
  return access.allow and ranges.problem(access.allow) or access.deny and ranges.problem(access.deny)
    or users_problem(access.users)
end

-- Why this address may not pass; "allowed": it is on the list; nil: nobody said anything of it.
local function by_address(guard, var)
  local address = var.binary_remote_addr
  if guard.deny and ranges.has(guard.deny, address) then return "forbidden" end
  if not guard.allow then return nil end
  return ranges.has(guard.allow, address) and "allowed" or "forbidden"
end

-- nil, or why not. In satisfy any one that lets in is enough, and of refusals 401 goes before 403: it says what would help.
local function judge(guard, var, state)
  local any, refusal = guard.any, nil
  local why = by_address(guard, var)
  if why == "allowed" then
    if any then return nil end
  elseif why then
    if not any then return why end
    refusal = why
  end
  if guard.users then
    why = users.check(guard.users, var)
    if not why then
      if any then return nil end
    elseif not any or why ~= "unauthorized" then
      return why
    else
      refusal = why
    end
  end
  if guard.ask then
    why = ask.check(guard.ask, var, state)
    if not why then
      if any then return nil end
    elseif not any or why ~= "unauthorized" and why ~= "forbidden" then
      return why
    elseif refusal ~= "unauthorized" then
      refusal = why
    end
  end
  -- Nothing but addresses that may not, and this is none of them.
  return refusal
end

local function check(guard, var, state)
  local why = judge(guard, var, state)
  if why == "unauthorized" then
    if state.challenge then
      ngx.header["www-authenticate"] = state.challenge
    elseif guard.users then
      ngx.header["www-authenticate"] = guard.users.challenge
    end
  end
  if why then return guard.ask and ask.refuse(guard.ask, why, var, state) or why end
  if guard.users then
    -- Read once it stays what it was, for whoever wants to know; peers do not get the password.
    local _ = var.remote_user
    ngx.req.clear_header("authorization")
  end
  if guard.ask then ask.pass(guard.ask, state) end
  return nil
end

-- The guard of a target that several features make.
local function guard_of(target)
  local guard = target.admission
  if not guard then
    guard = { check = check }
    target.admission = guard
    phases.guard(target, guard)
  end
  return guard
end

function M.compile(access, target)
  local guard = guard_of(target)
  guard.any = access.any == true
  guard.allow = access.allow and ranges.compile(access.allow)
  guard.deny = access.deny and ranges.compile(access.deny)
  guard.users = access.users and users.compile(access.users)
end

-- A service that is asked of each request.
M.request = { problem = ask.problem }

function M.request.compile(auth, target)
  guard_of(target).ask = ask.compile(auth, target)
end

return M
