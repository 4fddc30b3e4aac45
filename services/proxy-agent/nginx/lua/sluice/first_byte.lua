-- How long a path waits for a peer's first byte, where that is not what the proxy says for all. Milliseconds; 0: for ever.
local M = {}

function M.problem(ms)
  if type(ms) ~= "number" or ms < 0 or ms > 3600000 or ms % 1 ~= 0 then return "firstByteMs is not 0 to 3600000" end
  return nil
end

function M.compile(ms, target)
  target.first_byte = ms > 0 and ms / 1000
end

return M
