-- A path drawn at random for every request. A path that stands in the list more often is asked
-- for more often. The same seed draws the same paths, so that all servers get the same work.
--
--     wrk -s drawn.lua URL -- LIST SEED

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

local paths = {}

function init(arguments)
    for line in io.lines(arguments[1]) do
        paths[#paths + 1] = line:match("^%S+")
    end
    math.randomseed(tonumber(arguments[2]))
end

function request()
    return "GET " .. paths[math.random(#paths)] .. " HTTP/1.1\r\nHost: bench\r\n\r\n"
end
