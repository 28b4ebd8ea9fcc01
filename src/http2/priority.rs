//! How urgent an answer is to the client (RFC 9218 §4): the `priority` field, and PRIORITY_UPDATE.

/// What a client wants first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 the least.
    pub urgency: u8,
    /// Whether a part of it is of use: those of one urgency then have turns.
    pub is_incremental: bool,
}

impl Priority {
    /// Of a client that says nothing. RFC 9218 would have such answers sent one behind the other; a client that
    /// does not know of priorities expects what it was used to, that all move on.
    pub const UNSAID: Priority = Priority { urgency: 3, is_incremental: true };

    /// The value of a field, a dictionary of structured fields (RFC 8941). What cannot be understood is left out: a
    /// priority is a hint, and none is worth an error (RFC 9218 §4).
    pub fn parse(value: &[u8]) -> Priority {
        let mut priority = Priority { urgency: 3, is_incremental: false };
        for member in value.split(|byte| *byte == b',') {
            // Parameters are for others.
            let member = member.split(|byte| *byte == b';').next().unwrap_or(&[]).trim_ascii();
            match member {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.is_incremental = true,
                b"i=?0" => priority.is_incremental = false,
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_hints() {
        for (value, urgency, is_incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i=?1,u=5", 5, true),
            ("i, i=?0", 3, false),
            ("u=8", 3, false),
            ("u=-1, i;x=1", 3, true),
            ("u=2;a=b, other=3", 2, false),
            ("\u{ff}=, ,,u", 3, false),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), Priority { urgency, is_incremental }, "{value}");
        }
    }
}
