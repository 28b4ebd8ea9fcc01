-- What a run gave, as one line of JSON on standard output: the last line that wrk prints.
-- Every other script here begins with this one. Latencies are in microseconds.

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"bytes":%d,"seconds":%.6f,"refusals":%d,"failures":%d,'
            .. '"p50_us":%d,"p99_us":%d,"p999_us":%d}\n',
        summary.requests, summary.bytes, summary.duration / 1e6,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
