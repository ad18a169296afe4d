-- Sends the bodies that a file has in its lines, in turn, and says at the end in one line of JSON how it went.

local requests = {}
local turn = 0

function init(arguments)
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

-- Latencies as so many that lie evenly among all.
function done(summary, latency, _)
  local errors, latencies = 0, {}
  for _, count in pairs(summary.errors) do errors = errors + count end
  for share = 0, 999 do latencies[#latencies + 1] = latency:percentile(share / 10) end
  io.write(string.format('{"requests": %d, "us": %d, "bytes": %d, "errors": %d, "latencies_us": [%s]}\n',
    summary.requests, summary.duration, summary.bytes, errors, table.concat(latencies, ", ")))
end
