-- The same request over and over.
--
--     wrk -s same.lua URL -- FILE

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

local bytes

function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    bytes = file:read("*a")
    file:close()
end

function request()
    return bytes
end
