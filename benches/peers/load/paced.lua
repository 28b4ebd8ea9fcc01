-- The same request over and over, with a pause between an answer and the next request of a
-- connection: a load that leaves its core to others, and that is the same for each server.
--
--     wrk -s paced.lua URL -- FILE MILLISECONDS

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "same.lua")

local same_init = init
local pause_milliseconds

function init(arguments)
    same_init(arguments)
    pause_milliseconds = tonumber(arguments[2])
end

function delay()
    return pause_milliseconds
end
