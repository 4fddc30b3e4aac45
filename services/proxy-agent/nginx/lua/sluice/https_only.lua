-- Paths whose requests have to come by https. proxy.lua acts on it, where it acts on redirects.
local M = {}

function M.problem(value)
  return value ~= true and "httpsOnly is not true" or nil
end

function M.compile(_, target)
  target.https_only = true
end

return M
