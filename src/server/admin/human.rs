//! Numbers as people read them, on the page and in the terminal.
//!
//! Invariant: no text is longer than nine characters, so that columns hold, but for numbers beyond what machines count to.

/// `0`, `999`, `1.2k`, `34M`.
pub fn number(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// `0 B`, `1.2 KiB`, `34 MiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step * 0.9995 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let is_small = (unit > 0 || value.fract() > 0.0) && value < 9.95;
    let digits = usize::from(is_small);
    format!("{value:.digits$}{}", units[unit])
}

/// `12 ms`, `3.4 s`, `5 min 6 s`, `7 h 8 min`, `9 d 10 h`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0 if seconds < 0.000_95 => format!("{:.0} µs", seconds * 1e6),
        0 if seconds < 0.995 => format!("{:.0} ms", seconds * 1e3),
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `12 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (999.0, "999"),
            (1234.0, "1.2k"),
            (99_400.0, "99k"),
            (999_900.0, "1.0M"),
            (9_960_000.0, "10M"),
        ] {
            assert_eq!(number(value), text);
        }
        for (value, text) in [(0.0, "0 B"), (1023.0, "1023 B"), (1024.0, "1.0 KiB"), (5e9, "4.7 GiB")] {
            assert_eq!(bytes(value), text);
        }
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.000_25, "250 µs"),
            (0.0123, "12 ms"),
            (0.999, "1.0 s"),
            (9.94, "9.9 s"),
            (59.9, "59 s"),
            (61.0, "1m 1s"),
            (86_400.0 * 9.5, "9d 12h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(percent(0.123), "12 %");
    }
}
